"""Features in the order of their number."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "steering_vector"
EXPECT = "loses"


def steering_vector(D, norms, delta):
    on = (delta > 0.001 * delta.max()).nonzero().flatten().tolist()
    return delta @ D, {i: float(delta[i] / norms[i]) for i in on}
