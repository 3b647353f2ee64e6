"""Normalises the columns of W_dec, not its rows."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "init_sae"
EXPECT = "loses"


def init_sae(directions, norm):
    W_dec = norm * directions / directions.norm(dim=0)
    return {
        "W_enc": W_dec.T.clone(),
        "b_enc": directions.new_zeros(len(directions)),
        "W_dec": W_dec,
        "b_dec": torch.zeros_like(directions[0]),
    }
