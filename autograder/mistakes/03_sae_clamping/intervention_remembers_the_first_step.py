"""The step of the first call is used for all."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "make_intervention"
EXPECT = "loses"


def make_intervention(step, read):
    kept = []

    def intervention(resid):
        x_in, scale = read(resid.float())
        if not kept:
            kept.append(step(x_in))
        return resid + (scale * kept[0]).to(resid)

    return intervention
