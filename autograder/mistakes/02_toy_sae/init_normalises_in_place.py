"""Normalises the given directions in place."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "init_sae"
EXPECT = "loses"


def init_sae(directions, norm):
    directions *= norm / directions.norm(dim=1, keepdim=True)
    return {
        "W_enc": directions.T.clone(),
        "b_enc": torch.zeros_like(directions[:, 0]),
        "W_dec": directions.clone(),
        "b_dec": torch.zeros_like(directions[0]),
    }
