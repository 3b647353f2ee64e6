"""How good an autoencoder is: reconstruction, sparsity, dead latents, loss recovered, recovery.

FVU says how much of the residual's variance is lost, loss recovered what that costs the language
model; neither implies the other, so wherever an autoencoder is judged they stand side by side.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.activations import collect
from steerlab.generation import token_nll
from steerlab.hooks import check_hook_names, check_unhooked
from steerlab.sae.model import SAE, check_residuals
from steerlab.steering import Intervention, steer
from steerlab.tokens import check_texts, tokenize

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CHUNK = 4096  # tokens encoded at a time: a whole corpus's code would not fit into memory


@dataclass(frozen=True)
class Scores:
    """What `evaluate_sae` measures on held-out residuals.

    fvu: Σ‖x − x̂‖² / Σ‖x − x̄‖². l0: mean count of non-zero latents. dead: share of latents that
    never fire among `n_tokens`. rate: share of tokens on which each latent fires. p999: the 99.9th
    percentile of its non-zero activations (0 for a dead one): the reference of a clamp.
    """

    fvu: float
    l0: float
    dead: float
    n_tokens: int
    rate: Float[Tensor, " d_sae"]
    p999: Float[Tensor, " d_sae"]


@torch.no_grad()
def evaluate_sae(sae: SAE, x: Float[Tensor, "token d_model"]) -> Scores:
    """Scores on residuals that the autoencoder was not trained on, without position 0.

    What a centred SAE leaves out, the token's mean over d_model, counts neither as variance nor as
    error. Raises TypeError and ValueError for residuals that `check_residuals` refuses.
    """
    x = check_residuals(x, d_in=sae.d_in).to(sae.W_enc)
    if sae.centred:
        x = x - x.mean(dim=1, keepdim=True)
    error = 0.0
    firing: list[list[Tensor]] = [[], []]  # which latent, and how strongly, for every non-zero one
    for part in x.split(CHUNK):
        code = sae.encode(part)
        error += float((part - sae.decode(code, part)).square().sum())
        token, latent = code.nonzero(as_tuple=True)
        firing[0].append(latent.to("cpu", torch.int32))
        firing[1].append(code[token, latent].float().cpu())
    latents, strengths = (torch.cat(parts) for parts in firing)
    count = torch.bincount(latents, minlength=sae.d_sae)
    spread = float((x - x.mean(0)).square().sum())
    if spread == 0:
        raise ValueError("x is the same residual everywhere: it has no variance to explain")
    return Scores(
        fvu=error / spread,
        l0=len(latents) / len(x),
        dead=float((count == 0).float().mean()),
        n_tokens=len(x),
        rate=count / len(x),
        p999=percentiles(latents, strengths, count),
    )


def percentiles(latents: Tensor, strengths: Tensor, count: Tensor) -> Float[Tensor, " d_sae"]:
    """The 99.9th percentile of each latent's strengths, linearly interpolated."""
    order = torch.argsort(strengths)
    order = order[torch.argsort(latents[order], stable=True)]  # by latent, then by strength
    ordered = strengths[order]
    # In double: places run into the millions, where a float32 has no fraction left.
    place = (count.cumsum(0) - count) + 0.999 * (count - 1).clamp(min=0).double()
    low = place.floor().long().clamp(max=max(0, len(ordered) - 1))
    high = place.ceil().long().clamp(max=max(0, len(ordered) - 1))
    if not len(ordered):
        return torch.zeros(len(count))
    share = (place - place.floor()).float()
    found = ordered[low] * (1 - share) + ordered[high] * share
    return torch.where(count > 0, found, torch.zeros(()))


@dataclass(frozen=True)
class LossRecovered:
    """(ablated − spliced) / (ablated − clean), with the three mean cross-entropies in nats a token.

    share is 1 where splicing the reconstruction in costs nothing, 0 where it costs as much as
    putting the mean residual in every place. Position 0 is left as it is.
    """

    share: float
    clean: float
    spliced: float
    ablated: float


@torch.no_grad()
def loss_recovered(
    model: TransformerBridge, sae: SAE, texts: Sequence[str], *, batch_size: int = 32
) -> LossRecovered:
    """Loss recovered on held-out texts, each read from its beginning.

    Raises ValueError for no texts, a hooked model, an SAE whose width or hook point does not fit the
    model, or where ablation does not raise the loss.
    """
    check_unhooked(model, "loss recovered")
    hook_name = check_fits(sae, model)
    losses = splicing_losses(model, hook_name, texts, batch_size=batch_size)
    clean, spliced, ablated = losses(sae)
    if not ablated > clean:
        raise ValueError(
            f"putting the mean residual in at {hook_name} does not raise the loss ({clean:.4f} to "
            f"{ablated:.4f} nats a token): there is nothing to recover; use more texts"
        )
    return LossRecovered((ablated - spliced) / (ablated - clean), clean, spliced, ablated)


@torch.no_grad()
def splicing_losses(
    model: TransformerBridge, hook_name: str, texts: Sequence[str], *, batch_size: int = 32
) -> Callable[[Intervention], tuple[float, float, float]]:
    """A function of reconstructions that gives (clean, spliced, ablated), in nats a token.

    The three are the cross-entropies of `texts` with the residual at `hook_name` as it is, with what
    the reconstruction makes of it (an SAE, or a function of your own), and with the mean residual of
    these texts in every place. Position 0 is left as it is. The first and the last are measured once.
    Raises ValueError for no texts or an unknown hook name.
    """
    texts = sorted(check_texts(texts), key=len)  # batches of like lengths hold little padding
    mean = collect(model, texts, hook_name, batch_size=batch_size).values[hook_name].mean(0)
    mean = mean.to(model.cfg.device)

    def ablate(resid: Tensor) -> Tensor:
        return mean.to(resid).expand_as(resid)

    clean = _loss(model, hook_name, None, texts, batch_size)
    ablated = _loss(model, hook_name, ablate, texts, batch_size)

    @torch.no_grad()
    def losses(reconstruct: Intervention) -> tuple[float, float, float]:
        return clean, _loss(model, hook_name, reconstruct, texts, batch_size), ablated

    return losses


def _loss(
    model: TransformerBridge,
    hook_name: str,
    intervention: Intervention | None,
    texts: Sequence[str],
    batch_size: int,
) -> float:
    """Mean cross-entropy of the tokens after position 0, in nats."""
    total, count = 0.0, 0
    for start in range(0, len(texts), batch_size):
        batch = tokenize(model, texts[start : start + batch_size], truncate=True)
        with steer(model, {hook_name: intervention} if intervention else {hook_name: _same}):
            logits = model(batch.tokens, attention_mask=batch.attention_mask, use_cache=False)
        kept = token_nll(logits, batch.tokens)[batch.content[:, 1:]]
        total, count = total + float(kept.sum()), count + len(kept)
    return total / count


def _same(resid: Tensor) -> Tensor:
    return resid


def check_fits(sae: SAE, model: TransformerBridge) -> str:
    """The SAE's hook name, which the model has, at the SAE's width.

    Raises ValueError for an SAE without hook name, a model without that hook point, or of another
    width.
    """
    if sae.hook_name is None:
        raise ValueError("this SAE does not say which hook point it reads; set sae.hook_name")
    width = int(model.cfg.d_model)
    if sae.d_in != width:
        raise ValueError(
            f"the SAE reads residuals of width {sae.d_in} (it was trained on "
            f"{sae.model_name or 'an unnamed model'}), but this model's are {width} wide"
        )
    return check_hook_names(model, sae.hook_name)[0]


def check_reconstruction(
    sae: SAE, model: TransformerBridge, texts: Sequence[str], *, tokens: int = 200
) -> float:
    """FVU on the first tokens of some texts; above 0.5 it warns that something does not fit.

    A wrong hook point, input scale or model loads without complaint, and this is where it shows.
    Raises ValueError for an SAE whose width or hook point does not fit the model.
    """
    hook_name = check_fits(sae, model)
    x = collect(model, texts, hook_name, prepend_bos=sae.prepend_bos).values[hook_name][:tokens]
    fvu = evaluate_sae(sae, x.to(sae.W_enc.device)).fvu
    if not fvu <= 0.5:
        warnings.warn(
            f"this SAE leaves {fvu:.2f} of the variance unexplained on {len(x)} tokens at "
            f"{hook_name}: is it the right hook point, input scale and model "
            f"({sae.model_name or 'not named in the file'})?",
            stacklevel=2,
        )
    return fvu


def recovery(
    learned: Float[Tensor, "d_sae d"], planted: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    """Cosine of each planted direction with the learned one it is matched to, one to one.

    The matching is the best one overall (Kuhn, 1955), so that no learned direction counts twice.
    Compare with the same number for an untrained dictionary. Raises ValueError for fewer learned
    than planted directions or differing widths.
    """
    from scipy.optimize import linear_sum_assignment

    if learned.ndim != 2 or planted.ndim != 2 or learned.shape[1] != planted.shape[1]:
        raise ValueError(
            f"learned is {list(learned.shape)} and planted {list(planted.shape)}; expected "
            "[d_sae, d] and [n, d]"
        )
    if len(learned) < len(planted):
        raise ValueError(f"{len(learned)} learned directions for {len(planted)} planted ones")
    unit = [
        torch.nn.functional.normalize(each.detach().float(), dim=1) for each in (planted, learned)
    ]
    cosines = unit[0] @ unit[1].T
    rows, columns = linear_sum_assignment(cosines.cpu().numpy(), maximize=True)
    return cosines[torch.as_tensor(rows), torch.as_tensor(columns)]
