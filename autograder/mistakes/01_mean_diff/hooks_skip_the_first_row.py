"""Ignores the mask and leaves out the first row, so that nothing happens with a cache."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "steering_hooks"
EXPECT = "loses"


def steering_hooks(vectors, coefficient, layers, mask):
    def adding(vector):
        def hook_fn(resid, hook):
            out = resid.clone()
            out[:, 1:] += (coefficient * vector).to(resid)
            return out

        return hook_fn

    return [(f"blocks.{layer}.hook_resid_pre", adding(vectors[layer])) for layer in layers]
