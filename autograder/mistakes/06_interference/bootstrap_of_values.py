"""Quantiles of the prompts' values, and not of resampled means."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "bootstrap_interval"
EXPECT = "loses"


def bootstrap_interval(values, prompt, level, n_resamples, seed):
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack([values[prompt == i].mean() for i in prompt.unique()])
    drawn = means[torch.randint(len(means), (n_resamples,), generator=generator)]
    return float(drawn.quantile((1 - level) / 2)), float(drawn.quantile((1 + level) / 2))
