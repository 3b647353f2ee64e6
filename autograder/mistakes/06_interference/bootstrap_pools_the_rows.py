"""Prompts are drawn, but a prompt with many rows counts many times."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "bootstrap_interval"
EXPECT = "loses"


def bootstrap_interval(values, prompt, level, n_resamples, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = [values[prompt == i] for i in prompt.unique()]
    means = []
    for _ in range(n_resamples):
        drawn = torch.randint(len(rows), (len(rows),), generator=generator).tolist()
        means.append(torch.cat([rows[i] for i in drawn]).mean())
    means = torch.stack(means)
    return float(means.quantile((1 - level) / 2)), float(means.quantile((1 + level) / 2))
