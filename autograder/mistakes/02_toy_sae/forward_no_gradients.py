"""Computes the code without gradients."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "forward"
EXPECT = "loses"


def forward(sae, x):
    with torch.no_grad():
        code = torch.relu((x - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"])
    return code, code @ sae["W_dec"] + sae["b_dec"]
