"""The best place of each text by a dictionary, then sorted; returns a tensor."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "top_contexts"
EXPECT = "keeps"


def top_contexts(strengths, documents, tokens, skip, n):
    kept = strengths.clone()
    kept[torch.isin(tokens, torch.tensor(skip, dtype=tokens.dtype))] = 0
    best = {}
    for place in kept.nonzero().flatten().tolist():
        text = documents[place].item()
        if text not in best or kept[place] > kept[best[text]]:
            best[text] = place
    return torch.tensor(sorted(best.values(), key=lambda p: -kept[p].item())[:n], dtype=torch.long)
