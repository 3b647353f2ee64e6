"""The plain L1 penalty, without the decoder's norms."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "sae_loss"
EXPECT = "loses"


def sae_loss(x, x_hat, code, W_dec, sparsity):
    error = (x - x_hat).square().sum(dim=1)
    penalty = code.sum(dim=1)
    return (error + sparsity * penalty).mean()
