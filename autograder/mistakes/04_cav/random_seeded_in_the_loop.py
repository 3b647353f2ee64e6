"""The generator starts anew for every CAV: they are all the same."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch
from sklearn.svm import LinearSVC

TASK = "random_cavs"
EXPECT = "loses"


def random_cavs(inputs, is_concept, n, seed, cost):
    pass
    normals = []
    for _ in range(n):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(inputs), generator=generator)
        svm = LinearSVC(C=cost, max_iter=20_000, random_state=0)
        svm.fit(inputs.numpy(), is_concept[order].numpy())
        normals.append(torch.from_numpy(svm.coef_[0]).float())
    drawn = torch.stack(normals)
    return drawn / drawn.norm(dim=1, keepdim=True)
