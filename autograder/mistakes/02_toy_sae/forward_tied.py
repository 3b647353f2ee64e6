"""Decodes with the encoder's transpose."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "forward"
EXPECT = "loses"


def forward(sae, x):
    code = torch.relu((x - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"])
    return code, code @ sae["W_enc"].T + sae["b_dec"]
