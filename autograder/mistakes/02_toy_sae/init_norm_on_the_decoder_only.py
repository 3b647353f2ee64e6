"""The encoder starts from the unit rows, the decoder from the scaled ones."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "init_sae"
EXPECT = "loses"


def init_sae(directions, norm):
    unit = torch.nn.functional.normalize(directions, dim=1)
    W_dec = norm * unit
    return {
        "W_enc": unit.T.clone(),
        "b_enc": directions.new_zeros(len(directions)),
        "W_dec": W_dec,
        "b_dec": torch.zeros_like(directions[0]),
    }
