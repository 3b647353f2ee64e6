"""Changes the stream that it was given."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "cav_intervention"
EXPECT = "loses"


def cav_intervention(cav, dose, stream_norm):
    push = dose * stream_norm * cav / cav.norm()

    def intervention(resid):
        resid += push.to(resid)
        return resid

    return intervention
