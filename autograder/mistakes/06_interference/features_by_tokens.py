"""Every token counts once, so that a long prompt outvotes the others."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "candidate_features"
EXPECT = "loses"


def candidate_features(activity, prompt, is_code, chooses, k):
    of_code, counts = is_code[prompt], chooses[prompt]
    gap = activity[of_code & counts].mean(dim=0) - activity[~of_code & counts].mean(dim=0)
    return gap.topk(k).indices, (-gap).topk(k).indices
