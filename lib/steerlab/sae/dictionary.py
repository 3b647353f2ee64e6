"""The parameters of an autoencoder in training, its loss, and gradients that touch few latents.

Of a TopK code only k of d_sae entries are not zero. The encoder's product has to be computed whole
(nobody knows beforehand which k), everything after it touches k rows a token: the reconstruction
is a weighted sum of k decoder rows, and so are all gradients. `_Selected` and `_Combination` are
those two halves with gradients written by hand; the step is the dense one to rounding.

A ReLU code is dense in what it costs: two products forward and three back, none of which can be
left out. `_ReluLoss` has its gradients written by hand too, since between the products autograd
passes over [token, d_sae] matrices more often than it must.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

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
        bias = self.b_enc - self.encoder @ self.b_dec
        if self.recipe.activation == "relu":
            loss, error, total, count = _ReluLoss.apply(
                x, self.encoder, bias, self.decoder, self.b_dec, sparsity
            )
            return loss, error, total > 0, count
        pre = F.linear(x, self.encoder, bias)
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
        bias = self.b_enc - self.encoder @ self.b_dec
        with torch.no_grad():
            pre = F.linear(x, self.encoder, bias)
            places = _places(pre.topk(self.recipe.k, dim=1, sorted=False).indices, len(bias))
        values = _Selected.apply(x, self.encoder, bias, pre, places).relu()
        error = x - self.b_dec - _Combination.apply(values, self.decoder, places)
        loss = error.square().sum(1).mean()
        fired = torch.zeros(len(self.b_enc), dtype=torch.bool, device=x.device)
        fired[places.chosen[values.detach() > 0]] = True
        if dead is not None and bool(dead.any()) and self.recipe.revival:
            number = min(2 * self.recipe.k, int(dead.sum()))
            asleep = dead.nonzero().flatten()
            with torch.no_grad():
                strongest = pre[:, asleep].topk(number, dim=1, sorted=False).indices
                revived = _places(asleep[strongest], len(bias))
            guess = _Selected.apply(x, self.encoder, bias, pre, revived).relu()
            left = error.detach() - _Combination.apply(guess, self.decoder, revived)
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


class _ReluLoss(torch.autograd.Function):
    """(loss, error, Σ over tokens of the code, non-zero activations) of ReLU with λ Σ f ‖W_dec‖."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, encoder: Tensor, bias: Tensor, decoder: Tensor, b_dec: Tensor, λ: float
    ):
        code = F.linear(x, encoder, bias).relu_()
        error = torch.addmm(b_dec, code, decoder).neg_().add_(x)
        norm, total = decoder.norm(dim=1), code.sum(0)
        loss = (error.square().sum() + λ * (total @ norm)) / len(x)
        ctx.save_for_backward(x, encoder, decoder, code, error, norm, total)
        ctx.sparsity = λ
        count = torch.count_nonzero(code)
        ctx.mark_non_differentiable(error, total, count)
        return loss, error, total, count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x, _, decoder, code, error, norm, total = ctx.saved_tensors
        share = grads[0] / len(x)
        to_output = error * (-2 * share)
        to_code = torch.addmm(ctx.sparsity * share * norm, to_output, decoder.T)
        to_code.mul_(code > 0)
        to_decoder = code.T @ to_output
        # d‖w‖/dw = w / ‖w‖, and nothing where w is zero.
        per_row = ctx.sparsity * share * total / norm.clamp(min=torch.finfo(norm.dtype).tiny)
        to_decoder.addcmul_(decoder, per_row[:, None])
        return None, to_code.T @ x, to_code.sum(0), to_decoder, to_output.sum(0), None


class _Places(NamedTuple):
    """Which latents each token has, [token, k] in rising order, and the same by latent.

    token: the tokens of latent 0, then of latent 1, …; order: where in `chosen.flatten()` each of
    them stands; start: where each latent's tokens begin.
    """

    chosen: Int[Tensor, "token k"]
    token: Int[Tensor, " pair"]
    order: Int[Tensor, " pair"]
    start: Int[Tensor, " m"]


def _places(chosen: Int[Tensor, "token k"], m: int) -> _Places:
    """Different latents of each token, sorted both ways. m: latents in all."""
    chosen = chosen.sort(dim=1).values
    flat = chosen.flatten()
    order = torch.argsort(flat, stable=True)
    counts = torch.bincount(flat, minlength=m)
    token = torch.div(order, chosen.shape[1], rounding_mode="floor")
    return _Places(chosen, token, order, counts.cumsum(0) - counts)


class _Selected(torch.autograd.Function):
    """Chosen entries of the pre-activations x Eᵀ + b, which are already computed in `pre`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, encoder: Tensor, bias: Tensor, pre: Tensor, places: _Places):
        ctx.save_for_backward(x, *places)
        ctx.n_rows = len(encoder)
        return pre.gather(1, places.chosen)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x, *places = ctx.saved_tensors
        [grad] = grads
        to_bias = grad.new_zeros(ctx.n_rows).index_add_(0, places[0].flatten(), grad.flatten())
        return None, _spread(grad, x, _Places(*places)), to_bias, None, None


class _Combination(torch.autograd.Function):
    """Σ_j values_j · decoder[chosen_j] for every token: the decoder's product without its zeros."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, decoder: Tensor, places: _Places):
        ctx.save_for_backward(values, decoder, *places)
        return F.embedding_bag(places.chosen, decoder, per_sample_weights=values, mode="sum")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        values, decoder, *places = ctx.saved_tensors
        [grad] = grads
        to_values = _products(grad, places[0], decoder)
        return to_values, _spread(values, grad, _Places(*places)), None


def _products(
    x: Float[Tensor, "token d"], chosen: Int[Tensor, "token k"], rows: Float[Tensor, "m d"]
) -> Float[Tensor, "token k"]:
    """Inner product of each token with each of its chosen rows."""
    if x.is_cuda or not torch.backends.mkl.is_available():
        return torch.bmm(F.embedding(chosen, rows), x[..., None])[..., 0]
    # On a processor, gathering k rows a token takes as long as a dense product; this reads them
    # where they are.
    n, k = chosen.shape
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        wanted = torch.sparse_csr_tensor(
            torch.arange(0, n * k + 1, k),
            chosen.flatten(),
            x.new_zeros(n * k),
            (n, len(rows)),
            check_invariants=False,
        )
    return torch.sparse.sampled_addmm(wanted, x, rows.T, beta=0.0).values().view(n, k)


def _spread(
    values: Float[Tensor, "token k"], x: Float[Tensor, "token d"], places: _Places
) -> Float[Tensor, "m d"]:
    """For each latent, Σ of value · x over its tokens: the sparse matrix of values, transposed."""
    weights = values.flatten()[places.order]
    return F.embedding_bag(places.token, x, places.start, per_sample_weights=weights, mode="sum")


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
