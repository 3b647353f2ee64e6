"""The dose of the token's own length, for each token another push."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "cav_intervention"
EXPECT = "loses"


def cav_intervention(cav, dose, stream_norm):
    unit = cav / cav.norm()

    def intervention(resid):
        return resid + dose * resid.norm(dim=-1, keepdim=True) * unit.to(resid)

    return intervention
