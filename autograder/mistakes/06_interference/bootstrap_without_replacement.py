"""Three quarters of the prompts are drawn, each at most once."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "bootstrap_interval"
EXPECT = "loses"


def bootstrap_interval(values, prompt, level, n_resamples, seed):
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack([values[prompt == i].mean() for i in prompt.unique()])
    most = max(1, 3 * len(means) // 4)
    some = [
        means[torch.randperm(len(means), generator=generator)[:most]].mean()
        for _ in range(n_resamples)
    ]
    some = torch.stack(some)
    return float(some.quantile((1 - level) / 2)), float(some.quantile((1 + level) / 2))
