"""The step is added as the SAE sees it."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "make_intervention"
EXPECT = "loses"


def make_intervention(step, read):
    def intervention(resid):
        x_in, _ = read(resid.float())
        return resid + step(x_in).to(resid)

    return intervention
