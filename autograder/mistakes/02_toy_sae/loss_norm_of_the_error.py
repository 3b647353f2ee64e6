"""The length of the error, not its square."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "sae_loss"
EXPECT = "loses"


def sae_loss(x, x_hat, code, W_dec, sparsity):
    error = (x - x_hat).norm(dim=1)
    penalty = (code * W_dec.norm(dim=1)).sum(dim=1)
    return (error + sparsity * penalty).mean()
