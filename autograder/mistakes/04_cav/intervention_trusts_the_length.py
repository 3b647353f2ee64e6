"""Takes for granted that the vector has length 1."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "cav_intervention"
EXPECT = "loses"


def cav_intervention(cav, dose, stream_norm):
    def intervention(resid):
        return resid + (dose * stream_norm * cav).to(resid)

    return intervention
