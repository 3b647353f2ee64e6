"""A class with __call__, torch.nn.functional.normalize."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "cav_intervention"
EXPECT = "keeps"


def cav_intervention(cav, dose, stream_norm):
    class Push:
        def __init__(self):
            self.unit = torch.nn.functional.normalize(cav.detach().double(), dim=0)

        def __call__(self, resid):
            moved = resid.clone().double()
            moved.add_(self.unit.to(moved.device), alpha=float(dose) * float(stream_norm))
            return moved.to(resid.dtype)

    return Push()
