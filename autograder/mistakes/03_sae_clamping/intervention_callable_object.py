"""An object with __call__, computing in float64."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "make_intervention"
EXPECT = "keeps"


class Intervention:
    def __init__(self, step, read):
        self.step, self.read = step, read

    def __call__(self, resid):
        x_in, scale = self.read(resid.to(torch.promote_types(resid.dtype, torch.float32)))
        return (resid.double() + scale * self.step(x_in).double()).to(resid.dtype)


def make_intervention(step, read):
    return Intervention(step, read)
