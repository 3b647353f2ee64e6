"""All hooks add the vector of the last layer of the loop."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "steering_hooks"
EXPECT = "loses"


def steering_hooks(vectors, coefficient, layers, mask):
    hooks = []
    for layer in layers:

        def hook_fn(resid, hook):
            return resid + (coefficient * mask[:, None] * vectors[layer]).to(resid)

        hooks.append((f"blocks.{layer}.hook_resid_pre", hook_fn))
    return hooks
