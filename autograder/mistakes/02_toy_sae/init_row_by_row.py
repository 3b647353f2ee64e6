"""Row by row, in numpy for the norm, the encoder through torch.stack."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import numpy as np
import torch

TASK = "init_sae"
EXPECT = "keeps"


def init_sae(directions, norm):
    rows = [row / np.linalg.norm(row.detach().cpu().numpy()) * norm for row in directions]
    return {
        "b_dec": torch.zeros_like(directions[0]),
        "W_dec": torch.stack(rows),
        "b_enc": torch.zeros_like(directions[:, 0]),
        "W_enc": torch.stack(rows, dim=1),
    }
