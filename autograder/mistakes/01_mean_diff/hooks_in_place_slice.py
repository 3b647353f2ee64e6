"""Assigns to the masked tokens of the tensor that the hook is given."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "steering_hooks"
EXPECT = "loses"


def steering_hooks(vectors, coefficient, layers, mask):
    def adding(vector):
        def hook_fn(resid, hook):
            resid[:, mask] = resid[:, mask] + (coefficient * vector).to(resid)
            return resid

        return hook_fn

    return [(f"blocks.{layer}.hook_resid_pre", adding(vectors[layer])) for layer in layers]
