"""Rows are drawn, whatever prompt they come from."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "bootstrap_interval"
EXPECT = "loses"


def bootstrap_interval(values, prompt, level, n_resamples, seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (n_resamples, len(values)), generator=generator)
    means = values[drawn].mean(dim=1)
    return float(means.quantile((1 - level) / 2)), float(means.quantile((1 + level) / 2))
