"""Objects with __call__, index_add on a copy, arithmetic in float64."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "steering_hooks"
EXPECT = "keeps"


def steering_hooks(vectors, coefficient, layers, mask):
    class Push:
        def __init__(self, layer):
            self.vector = vectors[layer].detach().double() * float(coefficient)
            self.where = [i for i, on in enumerate(mask.tolist()) if on]

        def __call__(self, resid, hook=None):
            copy = resid.detach().double().clone()
            for i in self.where:
                copy[:, i] = copy[:, i] + self.vector.to(copy.device)
            return copy.to(resid.dtype)

    return [("blocks." + str(layer) + ".hook_resid_pre", Push(layer)) for layer in layers]
