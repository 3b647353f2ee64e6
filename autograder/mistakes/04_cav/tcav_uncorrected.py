"""Every concept is tested as if it were the only one."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "tcav_test"
EXPECT = "loses"


def tcav_test(sensitivity, random_sensitivity):
    if random_sensitivity.shape[1] < 50:
        raise ValueError("too few random CAVs")
    scores = (sensitivity > 0).float().mean(dim=0)
    chance = (random_sensitivity > 0).float().mean(dim=0)
    far = (chance - 0.5).abs()[None] >= (scores - 0.5).abs()[:, None] - 1e-6
    p = (1 + far.sum(dim=1)) / (1 + chance.shape[0])
    return scores, p
