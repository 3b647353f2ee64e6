"""Dead by a small mean activation."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "sae_scores"
EXPECT = "loses"


def sae_scores(x, x_hat, code, losses):
    clean, spliced, ablated = losses if losses is not None else (0.0, 0.0, 1.0)
    recovered = (ablated - spliced) / (ablated - clean)
    return {
        "fvu": float((x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum()),
        "l0": float((code > 0).float().sum(dim=1).mean()),
        "dead": float((code.mean(dim=0) < 1e-3).float().mean()),
        "loss_recovered": None if losses is None else recovered,
    }
