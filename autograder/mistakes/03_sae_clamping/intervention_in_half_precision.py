"""Reads and steps in the stream's own precision."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "make_intervention"
EXPECT = "loses"


def make_intervention(step, read):
    def intervention(resid):
        x_in, scale = read(resid)
        return resid + (scale * step(x_in)).to(resid)

    return intervention
