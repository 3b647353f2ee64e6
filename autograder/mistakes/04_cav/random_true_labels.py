"""Half of the texts at random, under their true labels."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch
from sklearn.svm import LinearSVC

TASK = "random_cavs"
EXPECT = "loses"


def random_cavs(inputs, is_concept, n, seed, cost):
    generator = torch.Generator().manual_seed(seed)
    normals = []
    for _ in range(n):
        some = torch.randperm(len(inputs), generator=generator)
        while (
            is_concept[some[: len(some) // 2]].float().std() == 0
            or not is_concept[some[: len(some) // 2]].any()
        ):
            some = torch.randperm(len(inputs), generator=generator)
        some = some[: max(2, len(some) // 2)]
        svm = LinearSVC(C=cost, max_iter=20_000, random_state=0)
        svm.fit(inputs[some].numpy(), is_concept[some].numpy())
        normals.append(torch.from_numpy(svm.coef_[0]).float())
    drawn = torch.stack(normals)
    return drawn / drawn.norm(dim=1, keepdim=True)
