"""No ReLU: a linear autoencoder."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "forward"
EXPECT = "loses"


def forward(sae, x):
    code = (x - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    return code, code @ sae["W_dec"] + sae["b_dec"]
