"""Divides the step by the scale."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "make_intervention"
EXPECT = "loses"


def make_intervention(step, read):
    def intervention(resid):
        x_in, scale = read(resid.float())
        return resid + (step(x_in) / scale).to(resid)

    return intervention
