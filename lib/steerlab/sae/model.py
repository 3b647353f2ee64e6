"""The sparse autoencoder itself: residual in, sparse code, residual out.

    f(x) = σ((x_in − b_dec) W_enc + b_enc),    x̂ = f W_dec + b_dec

σ is ReLU (Bricken et al., 2023), TopK (Gao et al., 2024) or JumpReLU (Rajamanoharan et al., 2024).
x_in is the residual as the autoencoder was trained to read it: as it stands, centred over d_model,
or normalised token by token. Whatever was done to x on the way in is undone on the way out, so
that `encode`, `decode` and `forward` take and give residuals as the model has them. A constant
input scale is folded into the weights and needs no field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

Activation = Literal["relu", "topk", "jumprelu"]
Normalisation = Literal["none", "layer_norm", "constant_norm_rescale"]
_EPSILON = 1e-5  # SAELens adds it to the standard deviation on the way in, and not on the way out


class SAE(nn.Module):
    """A trained sparse autoencoder of the residual stream; its parameters are frozen.

    W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in]; threshold [d_sae] for
    "jumprelu", k for "topk". `hook_name` and `model_name` say which residual it was trained on,
    None where that is not known. `metadata` holds what a file said beyond that.

    Raises ValueError for shapes that do not fit each other, values that are not finite, a k or a
    threshold that is missing, too much or out of range.
    """

    def __init__(
        self,
        W_enc: Float[Tensor, "d_in d_sae"],
        b_enc: Float[Tensor, " d_sae"],
        W_dec: Float[Tensor, "d_sae d_in"],
        b_dec: Float[Tensor, " d_in"],
        *,
        activation: Activation = "relu",
        k: int | None = None,
        threshold: Float[Tensor, " d_sae"] | None = None,
        normalisation: Normalisation = "none",
        centred: bool = False,
        apply_b_dec_to_input: bool = True,
        hook_name: str | None = None,
        model_name: str | None = None,
        prepend_bos: bool | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        super().__init__()
        tensors = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
        if threshold is not None:
            tensors["threshold"] = threshold
        _check_tensors(tensors)
        _check_activation(activation, k, threshold, W_enc.shape[1])
        if normalisation not in get_args(Normalisation):
            known = ", ".join(get_args(Normalisation))
            raise ValueError(f"normalisation is one of {known}, not {normalisation!r}")
        for name, tensor in tensors.items():
            setattr(self, name, nn.Parameter(tensor.detach(), requires_grad=False))
        if threshold is None:
            self.threshold = None
        self.activation = activation
        self.k = k
        self.normalisation = normalisation
        self.centred = centred
        self.apply_b_dec_to_input = apply_b_dec_to_input
        self.hook_name = hook_name
        self.model_name = model_name
        self.prepend_bos = prepend_bos
        self.metadata = dict(metadata or {})

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    threshold: nn.Parameter | None

    @property
    def d_in(self) -> int:
        """Width of the residual stream it reads."""
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.W_enc.shape[1]

    def extra_repr(self) -> str:
        kind = f"{self.activation}{f' k={self.k}' if self.k else ''}"
        return f"{self.d_in} -> {self.d_sae}, {kind}, hook_name={self.hook_name!r}"

    def read(
        self, x: Float[Tensor, "*batch d_in"]
    ) -> tuple[Float[Tensor, "*batch d_in"], Tensor | float, Tensor | float]:
        """(x_in, scale, shift): the residual as the encoder reads it, with x ≈ x_in · scale + shift.

        Raises ValueError for another width than d_in.
        """
        if x.shape[-1] != self.d_in:
            raise ValueError(
                f"x has {x.shape[-1]} entries a token, but this SAE reads {self.d_in}: it was "
                f"trained on another model ({self.model_name or 'unnamed'})"
            )
        x = x.to(self.W_enc.dtype)
        scale: Tensor | float = 1.0
        shift: Tensor | float = 0.0
        if self.centred or self.normalisation == "layer_norm":
            shift = x.mean(dim=-1, keepdim=True)
            x = x - shift
        if self.normalisation == "layer_norm":
            scale = x.std(dim=-1, keepdim=True)
            x = x / (scale + _EPSILON)
        elif self.normalisation == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True) / self.d_in**0.5
            x = x / scale
        return x, scale, shift

    def pre_activations(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """What the activation function is applied to."""
        x_in = self.read(x)[0]
        if self.apply_b_dec_to_input:
            x_in = x_in - self.b_dec
        return x_in @ self.W_enc + self.b_enc

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Feature activations, zero or positive. Raises ValueError for NaN or another width."""
        if torch.isnan(x).any():
            raise ValueError(f"x [{', '.join(map(str, x.shape))}] holds NaN; an SAE reads numbers")
        return self.activate(self.pre_activations(x))

    def activate(self, pre: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        """σ of the pre-activations of all latents."""
        if self.activation == "topk":
            assert self.k is not None
            top = pre.topk(self.k, dim=-1, sorted=False)
            return torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu())
        if self.activation == "jumprelu":
            assert self.threshold is not None
            return pre.relu() * (pre > self.threshold)
        return pre.relu()

    def decode(
        self,
        features: Float[Tensor, "*batch d_sae"],
        x: Float[Tensor, "*batch d_in"] | None = None,
    ) -> Float[Tensor, "*batch d_in"]:
        """The residual that a code stands for.

        x: the residual that was encoded. It is needed where the input is centred or normalised
        token by token, since the code does not know the token's mean and scale.
        Raises ValueError without it there, and for a code of another width than d_sae.
        """
        if features.shape[-1] != self.d_sae:
            raise ValueError(f"features has {features.shape[-1]} entries, not d_sae = {self.d_sae}")
        decoded = features @ self.W_dec + self.b_dec
        if self.normalisation == "none" and not self.centred:
            return decoded
        if x is None:
            kind = "centres" if self.normalisation == "none" else self.normalisation
            raise ValueError(
                f"this SAE reads its input under {kind!r}: decode(features, x) needs the x that "
                "was encoded, to put the token's mean and scale back"
            )
        _, scale, shift = self.read(x)
        return decoded * scale + shift

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """The reconstruction x̂ = decode(encode(x)), in x's dtype."""
        return self.decode(self.encode(x), x).to(x.dtype)

    def check_features(self, features: Sequence[int]) -> list[int]:
        """Feature indices as a list. Raises ValueError for one out of range or given twice."""
        numbers = [int(feature) for feature in features]
        for number in numbers:
            if not 0 <= number < self.d_sae:
                raise ValueError(
                    f"feature {number} is out of range: this SAE has features 0 to {self.d_sae - 1}"
                )
        if not numbers or len(set(numbers)) != len(numbers):
            raise ValueError(f"features are different indices, at least one; got {numbers}")
        return numbers

    @torch.no_grad()
    def scaled(self, factor: float) -> SAE:
        """The same autoencoder for inputs that are not yet multiplied by `factor`.

        One trained on factor · x becomes one of x itself with the same code. Raises ValueError
        where the input is normalised token by token: no constant scale then matters.
        """
        if not factor > 0:
            raise ValueError(f"factor is {factor}; an input scale is greater than 0")
        if self.normalisation != "none":
            raise ValueError(f"under {self.normalisation!r} an input scale has no effect")
        return self.like(
            W_enc=self.W_enc * factor, W_dec=self.W_dec / factor, b_dec=self.b_dec / factor
        )

    def like(self, **changes: Any) -> SAE:
        """A copy with some constructor arguments replaced."""
        names = (
            *("W_enc", "b_enc", "W_dec", "b_dec", "activation", "k", "threshold", "normalisation"),
            *("centred", "apply_b_dec_to_input", "hook_name", "model_name", "prepend_bos"),
            "metadata",
        )
        return SAE(**{name: getattr(self, name) for name in names} | changes)


def check_residuals(x: Any, what: str = "x", d_in: int | None = None) -> Float[Tensor, "token d"]:
    """Residuals [token, d_model] as they should be: at least two rows, finite, of width d_in.

    Raises TypeError for something else than a float tensor, ValueError for everything else.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{what} is {kind}; expected a float tensor [token, d_model]")
    if x.ndim != 2 or len(x) < 2 or (d_in is not None and x.shape[1] != d_in):
        width = "d_model" if d_in is None else str(d_in)
        raise ValueError(
            f"{what} has shape {list(x.shape)}; expected [token, {width}] with at least two tokens"
        )
    bad = ~torch.isfinite(x).all(dim=1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise ValueError(
            f"{what} holds NaN or infinite values in {int(bad.sum())} of {len(x)} rows "
            f"(first: row {first}); expected finite residuals"
        )
    return x


def _check_tensors(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise TypeError(f"{name} is {type(tensor).__name__}; expected a float tensor")
    W_enc = tensors["W_enc"]
    if W_enc.ndim != 2 or 0 in W_enc.shape:
        raise ValueError(f"W_enc has shape {list(W_enc.shape)}; expected [d_in, d_sae]")
    d_in, d_sae = W_enc.shape
    expected = {"b_enc": [d_sae], "W_dec": [d_sae, d_in], "b_dec": [d_in], "threshold": [d_sae]}
    for name, tensor in tensors.items():
        if name in expected and list(tensor.shape) != expected[name]:
            raise ValueError(
                f"{name} has shape {list(tensor.shape)}; W_enc is [d_in, d_sae] = "
                f"[{d_in}, {d_sae}], so expected {expected[name]}"
            )
        if not tensor.is_meta and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinite values")


def _check_activation(activation: str, k: int | None, threshold: Any, d_sae: int) -> None:
    if activation not in get_args(Activation):
        known = ", ".join(get_args(Activation))
        raise ValueError(f"activation is one of {known}, not {activation!r}")
    if (activation == "topk") != (k is not None):
        raise ValueError(
            f"activation {activation!r} with k = {k}: k belongs to topk, and only there"
        )
    if k is not None and not 1 <= k <= d_sae:
        raise ValueError(f"k is {k}; expected 1 to d_sae = {d_sae}")
    if (activation == "jumprelu") != (threshold is not None):
        given = "no threshold" if threshold is None else "a threshold"
        raise ValueError(f"activation {activation!r} with {given}: it belongs to jumprelu alone")
    if threshold is not None and (threshold < 0).any():
        raise ValueError("threshold holds negative values; a JumpReLU's threshold is 0 or more")
