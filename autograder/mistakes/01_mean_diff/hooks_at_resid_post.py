"""Hooks on what leaves the block, one block too late."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "steering_hooks"
EXPECT = "loses"


def steering_hooks(vectors, coefficient, layers, mask):
    def adding(vector):
        def hook_fn(resid, hook):
            return resid + (coefficient * mask[:, None] * vector).to(resid)

        return hook_fn

    return [(f"blocks.{layer}.hook_resid_post", adding(vectors[layer])) for layer in layers]
