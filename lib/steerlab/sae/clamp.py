"""Clamping features of a sparse autoencoder, at the price of the rows that are clamped.

The textbook form (Templeton et al., 2024) encodes the residual, sets features, decodes and adds
back what the autoencoder cannot reconstruct. Everything but the clamped features cancels:

    decode(f') + (x − decode(f)) = x + Σ_i (α_i − f_i(x)) W_dec,i

so nothing is ever decoded, and where the activation looks at each latent alone (ReLU, JumpReLU)
only the clamped rows of the encoder are computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.sae.model import SAE

#: Rows of the encoder, their biases, the threshold(s), rows of the decoder, the values to set.
_Rows = tuple[Tensor, Tensor, Tensor | float, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class ClampFeatures:
    """Set features to fixed activations, and leave the rest of the residual as it is.

    values: {feature: activation}, in the SAE's own units, e.g. half the feature's 99.9th
    percentile; 0 switches a feature off. Used like every intervention: `with steer(model,
    {clamp.hook_name: clamp})`. Computes in float32 at least and rounds the step once, to the
    residual's dtype.

    Raises TypeError for something that is no SAE, ValueError for no features, one out of range or
    a value that is not finite, and when called on a residual of another width than the SAE's.
    """

    sae: SAE
    values: Mapping[int, float]
    _rows: dict[torch.device, _Rows] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.sae, SAE):
            raise TypeError(
                f"sae is {type(self.sae).__name__}; expected a steerlab.sae.SAE (see load_sae)"
            )
        if not isinstance(self.values, Mapping):
            raise TypeError(
                f"values is {type(self.values).__name__}; expected {{feature: activation}}"
            )
        self.sae.check_features(list(self.values))
        for feature, value in self.values.items():
            if not math.isfinite(value):
                raise ValueError(f"values[{feature}] is {value}; expected a finite activation")

    @property
    def hook_name(self) -> str:
        """The hook point that the SAE was trained on. Raises ValueError if it does not say."""
        if self.sae.hook_name is None:
            raise ValueError("this SAE does not say which hook point it was trained on")
        return self.sae.hook_name

    def __call__(
        self, resid: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        rows, bias, threshold, decoder, alpha = self._on(resid.device)
        if self._plain and resid.dtype == rows.dtype:  # the usual case, in few operations
            if resid.shape[-1] != self.sae.d_in:
                self.sae.read(resid)  # raises
            flat = resid.reshape(-1, resid.shape[-1])
            step = alpha - _jump(torch.nn.functional.linear(flat, rows, bias), threshold)
            return torch.addmm(flat, step, decoder).view_as(resid)
        x_in, scale, _ = self.sae.read(resid)
        if self.sae.activation == "topk":
            # Whether a latent is among the k largest depends on all of them.
            code = self.sae.activate(self.sae.pre_activations(resid))
            now = code[..., list(self.values)].to(rows.dtype)
        else:
            now = _jump(torch.nn.functional.linear(x_in.to(rows.dtype), rows, bias), threshold)
        step = (alpha - now) @ decoder
        if isinstance(scale, Tensor):
            step = step * scale
        return resid + step.to(resid.dtype)

    @property
    def _plain(self) -> bool:
        """Whether the encoder reads the residual as it is, and each latent alone decides."""
        sae = self.sae
        return sae.activation != "topk" and sae.normalisation == "none" and not sae.centred

    def _on(self, device: torch.device) -> _Rows:
        """What a call needs of the SAE, on the residual's device; kept for the next call."""
        if device not in self._rows:
            sae, features = self.sae, list(self.values)
            dtype = torch.promote_types(sae.W_enc.dtype, torch.float32)

            def move(tensor: Tensor) -> Tensor:
                return tensor.to(device, dtype).contiguous()

            rows, bias = move(sae.W_enc[:, features].T), move(sae.b_enc[features])
            if sae.apply_b_dec_to_input:
                bias = bias - rows @ move(sae.b_dec)
            threshold = 0 * bias if sae.threshold is None else sae.threshold[features].clamp(min=0)
            cut = float(threshold) if len(features) == 1 else move(threshold)
            alpha = torch.tensor([float(self.values[i]) for i in features])
            self._rows[device] = (rows, bias, cut, move(sae.W_dec[features]), move(alpha))
        return self._rows[device]


def _jump(pre: Float[Tensor, "*batch feature"], threshold: Tensor | float) -> Tensor:
    """What is above its feature's threshold; 0 elsewhere. One operation where there is one feature."""
    if isinstance(threshold, float):
        return torch.nn.functional.threshold(pre, threshold, 0.0)
    return pre * (pre > threshold)
