"""The score is the mean derivative."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "tcav_test"
EXPECT = "loses"


def tcav_test(sensitivity, random_sensitivity):
    if random_sensitivity.shape[1] < 50:
        raise ValueError("too few random CAVs")
    scores = sensitivity.mean(dim=0)
    chance = random_sensitivity.mean(dim=0)
    far = chance.abs()[None] >= scores.abs()[:, None]
    p = (1 + far.sum(dim=1)) / (1 + chance.shape[0])
    return scores, (p * len(scores)).clamp(max=1)
