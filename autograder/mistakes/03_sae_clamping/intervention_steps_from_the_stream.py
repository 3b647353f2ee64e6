"""The step is computed from the stream and not from what the SAE reads."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "make_intervention"
EXPECT = "loses"


def make_intervention(step, read):
    def intervention(resid):
        _, scale = read(resid.float())
        return resid + (scale * step(resid.float())).to(resid)

    return intervention
