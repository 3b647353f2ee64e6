"""Changes the stream that it is given."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "make_intervention"
EXPECT = "loses"


def make_intervention(step, read):
    def intervention(resid):
        x_in, scale = read(resid.float().clone())
        resid += (scale * step(x_in)).to(resid)
        return resid

    return intervention
