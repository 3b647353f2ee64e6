"""Plain Python and whole numbers."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "tcav_test"
EXPECT = "keeps"


def tcav_test(sensitivity, random_sensitivity):
    n_texts, n_random = random_sensitivity.shape
    if not n_random >= 50:
        raise ValueError(f"{n_random} random CAVs")

    def positives(columns):
        return [sum(1 for s in column if s > 0) for column in columns.T.tolist()]

    counts, chance = positives(sensitivity), positives(random_sensitivity)
    p = []
    for count in counts:
        far = sum(abs(2 * other - n_texts) >= abs(2 * count - n_texts) for other in chance)
        p.append(min(1.0, len(counts) * (far + 1) / (n_random + 1)))
    return torch.tensor(counts) / n_texts, torch.tensor(p)
