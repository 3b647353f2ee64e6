"""nn.functional.linear, b_dec folded into the bias, clamp, einsum."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "forward"
EXPECT = "keeps"


def forward(sae, x):
    bias = sae["b_enc"] - sae["b_dec"] @ sae["W_enc"]
    code = torch.nn.functional.linear(x, sae["W_enc"].T, bias).clamp(min=0)
    return [code, torch.einsum("...s,sd->...d", code, sae["W_dec"]) + sae["b_dec"]]
