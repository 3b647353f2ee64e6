"""Compact sparse autoencoders for probing the embedded model: training, scores, the clamp.

Conventions (shared with the course): inputs are scaled so that E‖x‖ = √d_model; the loss is the
batch mean of ‖x − x̂‖² summed over d_model, plus the sparsity term of the kind:

- "topk":     nothing more; the 16 largest pre-activations survive (Gao et al., 2024);
- "relu":     λ Σ f ‖W_dec‖ (Bricken et al., 2023; Conerly et al., 2024);
- "jumprelu": λ ‖f‖₀ through a straight-through threshold (Rajamanoharan et al., 2024).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

K = 16
BANDWIDTH = 0.1  # of JumpReLU's pseudo-derivatives, in units of the scaled residual


class _Jump(torch.autograd.Function):
    """z · H(z − θ), with the rectangle kernel's pseudo-derivative towards θ."""

    @staticmethod
    def forward(ctx, z, theta):
        ctx.save_for_backward(z, theta)
        return z * (z > theta)

    @staticmethod
    def backward(ctx, grad):
        z, theta = ctx.saved_tensors
        near = ((z - theta).abs() < BANDWIDTH / 2) / BANDWIDTH
        return grad * (z > theta), -(theta * near * grad).sum(0)


class _Count(torch.autograd.Function):
    """H(z − θ), with a pseudo-derivative towards θ only."""

    @staticmethod
    def forward(ctx, z, theta):
        ctx.save_for_backward(z, theta)
        return (z > theta).to(z)

    @staticmethod
    def backward(ctx, grad):
        z, theta = ctx.saved_tensors
        near = ((z - theta).abs() < BANDWIDTH / 2) / BANDWIDTH
        return None, -(near * grad).sum(0)


class SAE(nn.Module):
    """One hidden layer over the residual stream. Methods take and give unscaled residuals."""

    def __init__(self, kind: str, x: Float[Tensor, "token d_model"], expansion: int = 8):
        super().__init__()
        d = x.shape[1]
        self.kind = kind
        self.scale = math.sqrt(d) / float(x.norm(dim=1).mean())
        rows = torch.randn(expansion * d, d)
        self.W_dec = nn.Parameter(rows / rows.norm(dim=1, keepdim=True))
        self.W_enc = nn.Parameter(self.W_dec.detach().T.clone())
        self.b_enc = nn.Parameter(torch.zeros(expansion * d))
        self.b_dec = nn.Parameter(x.mean(0) * self.scale)
        self.log_theta = nn.Parameter(torch.full((expansion * d,), math.log(0.3)))

    def pre(self, scaled: Float[Tensor, "*b d_model"]) -> Float[Tensor, "*b latent"]:
        return (scaled - self.b_dec) @ self.W_enc + self.b_enc

    def act(self, pre: Float[Tensor, "token latent"]) -> Float[Tensor, "token latent"]:
        if self.kind == "jumprelu":
            return _Jump.apply(pre, self.log_theta.exp())
        pre = pre.relu()
        if self.kind == "topk":
            top = pre.topk(K, dim=-1)
            return torch.zeros_like(pre).scatter(-1, top.indices, top.values)
        return pre

    def encode(self, x: Float[Tensor, "*b d_model"]) -> Float[Tensor, "*b latent"]:
        flat = self.act(self.pre(x.reshape(-1, x.shape[-1]) * self.scale))
        return flat.reshape(*x.shape[:-1], -1)

    def decode(self, features: Float[Tensor, "*b latent"]) -> Float[Tensor, "*b d_model"]:
        return (features @ self.W_dec + self.b_dec) / self.scale

    def forward(self, x: Float[Tensor, "*b d_model"]) -> Float[Tensor, "*b d_model"]:
        return self.decode(self.encode(x))


def train_sae(
    kind: str,
    x: Float[Tensor, "token d_model"],
    *,
    steps: int,
    sparsity: float = 0.0,
    batch: int = 1024,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> tuple[SAE, float]:
    """Train one SAE on residuals `x`; returns it with the seconds that training took.

    λ warms up over the first fifth, the learning rate decays linearly over the last fifth. TopK
    keeps its decoder rows at norm 1 and revives dead latents by fitting the error with them.
    """
    torch.manual_seed(seed)
    sae = SAE(kind, x)
    optimizer = torch.optim.Adam(sae.parameters(), lr=learning_rate, fused=True)
    silent = torch.zeros(sae.W_dec.shape[0])
    started = time.perf_counter()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (steps - step) / (0.2 * steps))
        warm = min(1.0, step / (0.2 * steps))
        scaled = x[torch.randint(len(x), (batch,))] * sae.scale
        pre = sae.pre(scaled)
        features = sae.act(pre)
        error = scaled - features @ sae.W_dec - sae.b_dec
        loss = error.square().sum(1).mean()
        if kind == "relu":
            loss = loss + warm * sparsity * (features @ sae.W_dec.norm(dim=1)).mean()
        elif kind == "jumprelu":
            counted = _Count.apply(pre, sae.log_theta.exp())
            loss = loss + warm * sparsity * counted.sum(1).mean()
        else:
            silent = torch.where(features.detach().any(0), torch.zeros(()), silent + 1)
            dead = silent > 50
            if dead.any():
                revived = pre.masked_fill(~dead, float("-inf")).topk(min(2 * K, int(dead.sum())))
                guess = torch.zeros_like(pre).scatter(1, revived.indices, revived.values.relu())
                loss = loss + (error.detach() - guess @ sae.W_dec).square().sum(1).mean() / 32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if kind == "topk":
            with torch.no_grad():
                sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
    return sae.eval().requires_grad_(False), time.perf_counter() - started


@dataclass(frozen=True)
class Scores:
    """FVU, mean count of non-zero latents, share of latents that never fire, firing rates."""

    fvu: float
    l0: float
    dead: float
    rate: Float[Tensor, " latent"]
    p999: Float[Tensor, " latent"]  # 99.9th percentile of the non-zero activations


@torch.no_grad()
def score_sae(sae: SAE, x: Float[Tensor, "token d_model"]) -> Scores:
    """Scores on held-out residuals `x` (dead: never fires among them)."""
    error, active = 0.0, torch.zeros(sae.W_dec.shape[0])
    kept = []
    for part in x.split(4096):
        features = sae.encode(part)
        error += float((part - sae.decode(features)).square().sum())
        active += (features > 0).sum(0)
        kept.append(features.to(torch.float16))
    features = torch.cat(kept)
    p999 = torch.zeros(len(active))
    for latent in active.nonzero().flatten().tolist():
        column = features[:, latent]
        p999[latent] = torch.quantile(column[column > 0].float(), 0.999)
    spread = float((x - x.mean(0)).square().sum())
    return Scores(
        error / spread,
        float(active.sum()) / len(x),
        float((active == 0).float().mean()),
        active / len(x),
        p999,
    )


@dataclass(frozen=True)
class Clamp:
    """x + (α − f_i(x)) W_dec,i: one feature set to `alpha`, everything else left as it is."""

    sae: SAE
    latent: int
    alpha: float

    def __call__(self, resid: Float[Tensor, "b pos d_model"]) -> Float[Tensor, "b pos d_model"]:
        missing = self.alpha - self.sae.encode(resid)[..., self.latent, None]
        return resid + missing * self.sae.W_dec[self.latent] / self.sae.scale


@dataclass(frozen=True)
class ClampControl:
    """As large a step at every token as `clamp` takes there, along another direction."""

    clamp: Clamp
    direction: Float[Tensor, " d_model"]

    def __call__(self, resid: Float[Tensor, "b pos d_model"]) -> Float[Tensor, "b pos d_model"]:
        size = (self.clamp(resid) - resid).norm(dim=-1, keepdim=True)
        return resid + size * self.direction / self.direction.norm()
