"""The parameters of an autoencoder in training, its loss, and gradients that touch few latents.

Of a TopK code only k of d_sae entries are not zero. The encoder's product has to be computed whole
(nobody knows beforehand which k), everything after it touches k rows a token: the reconstruction
is a weighted sum of k decoder rows, and so are all gradients. `_Selected` and `_Combination` are
those two halves with gradients written by hand; the step is the dense one to rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from steerlab.sae.model import SAE

if TYPE_CHECKING:
    from steerlab.sae.training import Recipe


class Dictionary(nn.Module):
    """Encoder and decoder rows [d_sae, d_in], their biases, and JumpReLU's thresholds.

    The decoder starts with random rows of one norm, the encoder as a copy of it, the latents' biases
    at zero, the decoder's bias at `centre`, the mean of the scaled inputs.
    """

    def __init__(
        self,
        recipe: Recipe,
        d_in: int,
        generator: torch.Generator,
        centre: Float[Tensor, " d_in"] | None = None,
    ):
        super().__init__()
        self.recipe = recipe
        rows = F.normalize(torch.randn(recipe.d_sae, d_in, generator=generator), dim=1)
        rows = recipe.start_norm * rows
        self.decoder = nn.Parameter(rows)
        self.encoder = nn.Parameter(rows.clone())
        self.b_enc = nn.Parameter(torch.zeros(recipe.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(d_in) if centre is None else centre.float().cpu())
        if recipe.activation == "jumprelu":
            start = math.log(recipe.threshold)
            self.log_threshold = nn.Parameter(torch.full((recipe.d_sae,), start))

    def forward(
        self, x: Float[Tensor, "token d_in"], sparsity: float, dead: Bool[Tensor, " d_sae"] | None
    ) -> tuple[Tensor, Float[Tensor, "token d_in"], Bool[Tensor, " d_sae"], Tensor]:
        """(loss, error, which latents fired, how many non-zero activations) of scaled residuals.

        dead: latents to revive ("topk" only).
        """
        if self.recipe.activation == "topk":
            return self._topk(x, dead)
        # b_dec goes through the bias: a product less than through x − b_dec.
        pre = F.linear(x, self.encoder, self.b_enc - self.encoder @ self.b_dec)
        if self.recipe.activation == "relu":
            code = pre.relu()
            penalty = code @ self.decoder.norm(dim=1)
        else:
            threshold = self.log_threshold.exp()
            code = _Jump.apply(pre, threshold, self.recipe.bandwidth)
            penalty = _Count.apply(pre, threshold, self.recipe.bandwidth).sum(1)
        error = x - torch.addmm(self.b_dec, code, self.decoder)
        loss = error.square().sum(1).mean() + sparsity * penalty.mean()
        firings = (code.detach() > 0).sum(0)
        return loss, error, firings > 0, firings.sum()

    def _topk(
        self, x: Float[Tensor, "token d_in"], dead: Bool[Tensor, " d_sae"] | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        centred = x - self.b_dec
        with torch.no_grad():
            pre = F.linear(centred, self.encoder, self.b_enc)
            chosen = pre.topk(self.recipe.k, dim=1, sorted=False).indices
        values = _Selected.apply(centred, self.encoder, self.b_enc, chosen, pre).relu()
        error = centred - _Combination.apply(values, chosen, self.decoder)
        loss = error.square().sum(1).mean()
        fired = torch.zeros(len(self.b_enc), dtype=torch.bool, device=x.device)
        fired[chosen[values.detach() > 0]] = True
        if dead is not None and bool(dead.any()) and self.recipe.revival:
            number = min(2 * self.recipe.k, int(dead.sum()))
            asleep = dead.nonzero().flatten()
            revived = asleep[pre[:, asleep].topk(number, dim=1, sorted=False).indices]
            guess = _Selected.apply(centred, self.encoder, self.b_enc, revived, pre).relu()
            left = error.detach() - _Combination.apply(guess, revived, self.decoder)
            loss = loss + self.recipe.revival * left.square().sum(1).mean()
        return loss, error, fired, (values.detach() > 0).sum()

    def frozen(self) -> SAE:
        """The autoencoder of scaled residuals."""
        threshold = None
        if self.recipe.activation == "jumprelu":
            threshold = self.log_threshold.detach().exp()
        return SAE(
            self.encoder.detach().T.contiguous(),
            self.b_enc.detach().clone(),
            self.decoder.detach().clone(),
            self.b_dec.detach().clone(),
            activation=self.recipe.activation,
            k=self.recipe.k if self.recipe.activation == "topk" else None,
            threshold=threshold,
        )

    @torch.no_grad()
    def centred_inputs_and_error(
        self, x: Float[Tensor, "token d_in"]
    ) -> tuple[Float[Tensor, "token d_in"], Float[Tensor, "token d_in"]]:
        """x − b_dec, and what of it the autoencoder leaves out."""
        return x - self.b_dec, x - self.frozen()(x)

    @torch.no_grad()
    def replace(self, which: Bool[Tensor, " d_sae"], directions: Float[Tensor, "n d_in"]) -> None:
        """Give latents a new direction, a timid encoder row, no bias and a fresh threshold."""
        self.decoder[which] = directions
        self.encoder[which] = 0.2 * self.encoder[~which].norm(dim=1).mean() * directions
        self.b_enc[which] = 0
        if self.recipe.activation == "jumprelu":
            self.log_threshold[which] = math.log(self.recipe.threshold)


class _Selected(torch.autograd.Function):
    """Entries `chosen` of the pre-activations x Eᵀ + b, which are already computed in `pre`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, encoder: Tensor, bias: Tensor, chosen: Tensor, pre: Tensor):
        ctx.save_for_backward(x, encoder, chosen)
        return pre.gather(1, chosen)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x, encoder, chosen = ctx.saved_tensors
        [grad] = grads
        to_bias = torch.zeros_like(encoder[:, 0]).index_add_(0, chosen.flatten(), grad.flatten())
        return (
            _combine(grad, chosen, encoder),
            _spread(grad, chosen, x, len(encoder)),
            to_bias,
            None,
            None,
        )


class _Combination(torch.autograd.Function):
    """Σ_j values_j · decoder[chosen_j] for every token: the decoder's product without its zeros."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, chosen: Tensor, decoder: Tensor):
        ctx.save_for_backward(values, chosen, decoder)
        return _combine(values, chosen, decoder)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        values, chosen, decoder = ctx.saved_tensors
        [grad] = grads
        to_values = _products(grad, chosen, decoder)
        return to_values, None, _spread(values, chosen, grad, len(decoder))


def _combine(
    values: Float[Tensor, "token k"], chosen: Int[Tensor, "token k"], rows: Float[Tensor, "m d"]
) -> Float[Tensor, "token d"]:
    """Weighted sum of the chosen rows of each token."""
    return F.embedding_bag(chosen, rows, per_sample_weights=values, mode="sum")


def _products(
    x: Float[Tensor, "token d"], chosen: Int[Tensor, "token k"], rows: Float[Tensor, "m d"]
) -> Float[Tensor, "token k"]:
    """Inner product of each token with each of its chosen rows."""
    return torch.bmm(F.embedding(chosen, rows), x[..., None])[..., 0]


def _spread(
    values: Float[Tensor, "token k"],
    chosen: Int[Tensor, "token k"],
    x: Float[Tensor, "token d"],
    n_rows: int,
) -> Float[Tensor, "m d"]:
    """Σ over tokens of values_j · x, added up in the rows chosen_j: a sparse matrix, transposed."""
    tokens = torch.arange(len(x), device=x.device).repeat_interleave(chosen.shape[1])
    places = torch.stack([chosen.flatten(), tokens])
    sparse = torch.sparse_coo_tensor(
        places, values.flatten(), (n_rows, len(x)), check_invariants=False
    )
    return torch.sparse.mm(sparse, x)


class _Jump(torch.autograd.Function):
    """z · H(z − θ), with the rectangle kernel's pseudo-derivative towards θ."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, theta: Tensor, bandwidth: float):
        ctx.save_for_backward(z, theta)
        ctx.bandwidth = bandwidth
        return z * (z > theta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        z, theta = ctx.saved_tensors
        [grad] = grads
        near = (z - theta).abs() < ctx.bandwidth / 2
        to_theta = -(theta / ctx.bandwidth) * (near * grad).sum(0)
        return grad * (z > theta), to_theta, None


class _Count(torch.autograd.Function):
    """H(z − θ), with a pseudo-derivative towards θ only."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, theta: Tensor, bandwidth: float):
        ctx.save_for_backward(z, theta)
        ctx.bandwidth = bandwidth
        return (z > theta).to(z)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        z, theta = ctx.saved_tensors
        [grad] = grads
        near = (z - theta).abs() < ctx.bandwidth / 2
        return None, -(near * grad).sum(0) / ctx.bandwidth, None
