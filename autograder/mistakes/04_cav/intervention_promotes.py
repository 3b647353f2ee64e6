"""float16 plus float32 is float32."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "cav_intervention"
EXPECT = "loses"


def cav_intervention(cav, dose, stream_norm):
    push = dose * stream_norm * cav / cav.norm()
    return lambda resid: resid + push
