"""Adds dose times the CAV: a coefficient, not a dose."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "cav_intervention"
EXPECT = "loses"


def cav_intervention(cav, dose, stream_norm):
    def intervention(resid):
        return resid + (dose * cav / cav.norm()).to(resid)

    return intervention
