"""The checks of assignment 03_sae_clamping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from steerlab.checks.diagnosis import (
    CheckFailed,
    check_of,
    expect,
    expect_pair,
    expect_tensor,
    same,
)

Weights = dict[str, Tensor]


def _small_sae() -> Weights:
    """Four latents on a residual of width 2, whose numbers can be followed by hand."""
    return {
        "W_enc": torch.tensor([[1.0, 0.0, 1.0, -1.0], [0.0, 1.0, 1.0, 0.0]]),
        "b_enc": torch.tensor([1.0, -1.0, 0.0, 0.0]),
        "threshold": torch.tensor([1.0, 2.0, 5.0, 0.0]),
        "W_dec": torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, -1.0], [-2.0, 1.0]]),
        "b_dec": torch.tensor([0.5, -0.5]),
    }


@check_of("jumprelu_encode")
def check_jumprelu_encode(function: Callable[..., Any]) -> str:
    """Diagnose `jumprelu_encode(x, sae)` on two tokens and four features."""
    sae = _small_sae()
    x = torch.tensor([[[2.0, 4.0], [-3.0, 3.0]]])
    given = x.clone()
    # Pre-activations: [3, 3, 6, -2] and [-2, 2, 0, 3].
    expected = torch.tensor([[[3.0, 3.0, 6.0, 0.0], [0.0, 0.0, 0.0, 3.0]]])
    got = expect_tensor(function(x, sae), (1, 2, 4), "batch, pos, d_sae")
    expect(torch.equal(x, given), "your function changes x. Build a new tensor.")
    expect(
        bool((got >= 0).all()),
        "some activations are negative. A feature is off (0) or on; it is never less than off.",
    )
    shifted = torch.tensor([[[2.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 3.0]]])
    expect(
        not same(got, shifted),
        "an activation that passes the threshold keeps its full value. You take the threshold off "
        "it: that is a ReLU with a bias, and every activation comes out too small.",
    )
    bare = torch.tensor([[[2.0, 4.0, 6.0, 0.0], [0.0, 3.0, 0.0, 3.0]]])
    expect(not same(got, bare), "the bias b_enc is left out.")
    expect(
        got[0, 1, 1] == 0,
        "feature 1 has z = 2 on the second token and a threshold of 2, and your function lets it "
        "pass. Only what lies *above* the threshold does. (Is the threshold used at all?)",
    )
    expect(
        same(got, expected),
        "the activations are not what the formula gives. Print z for one token, and beside it "
        "the threshold.",
    )
    relu = function(x, sae | {"threshold": torch.zeros(4)})
    expect(
        same(relu, torch.tensor([[[3.0, 3.0, 6.0, 0.0], [0.0, 2.0, 0.0, 3.0]]])),
        "with all thresholds at 0 the result should be that of a plain ReLU.",
    )
    alone = expect_tensor(function(x[0, 0], sae), (4,), "d_sae")
    expect(same(alone, expected[0, 0]), "for a single token [d_model] the result is different.")
    return "above the threshold the full value, otherwise 0; ReLU where the threshold is 0."


@check_of("error_term")
def check_error_term(function: Callable[..., Any]) -> str:
    """Diagnose `error_term(x, features, sae)` on two tokens."""
    sae = _small_sae()
    x = torch.tensor([[4.0, 4.0], [-1.0, 2.0]])
    features = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]])
    # Reconstructions: [2.5, 2.5] and [-3.5, 1.5].
    expected = torch.tensor([[1.5, 1.5], [2.5, 0.5]])
    got = expect_tensor(function(x, features, sae), (2, 2), "token, d_model")
    expect(
        not same(got, x - expected), "you return the reconstruction. The error is what it misses."
    )
    expect(
        not same(got, -expected),
        "the sign is the other way round. Reconstruction *plus* error must give x.",
    )
    expect(
        not same(got, expected + sae["b_dec"]),
        "the decoder's bias b_dec is missing from your reconstruction.",
    )
    expect(same(got, expected), "reconstruction plus error does not give x.")
    return "reconstruction plus error is x."


@check_of("clamp_and_decode")
def check_clamp_and_decode(function: Callable[..., Any]) -> str:
    """Diagnose `clamp_and_decode(features, error, sae, values)` on two tokens."""
    sae = _small_sae()
    features = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 5.0, 1.0]])
    error = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    given = features.clone()
    # Feature 1 at 4 on both tokens: 1 and 4 on the first, 4, 5 and 1 on the second.
    expected = torch.tensor([[12.5, 31.5], [33.5, 47.5]])
    got = expect_tensor(function(features, error, sae, {1: 4.0}), (2, 2), "token, d_model")
    expect(
        torch.equal(features, given),
        "your function writes into `features`. Whoever holds that tensor, for instance the error "
        "term that was computed from it, now holds something else. Work on a copy.",
    )
    expect(
        not same(got, expected - error),
        "the error is left out. The model would go on with a reconstruction, and everything that "
        "the dictionary cannot say would be lost, clamp or no clamp.",
    )
    expect(
        not same(got, torch.tensor([[12.5, 37.5], [33.5, 47.5]])),
        "on a token where feature 1 is at 2, clamping it to 4 brings it to 6. A clamp *sets* the "
        "activation; you add to it.",
    )
    expect(
        not same(got, expected - sae["b_dec"]),
        "the decoder's bias is missing.",
    )
    expect(
        same(got, expected),
        "with one feature clamped the result is not: decode the changed code, add the error.",
    )
    low = function(features, error, sae, {1: 0.5})
    expect(
        same(low, torch.tensor([[12.5, 21.0], [33.5, 37.0]])),
        "clamping to 0.5 a feature that stands at 2 should bring it *down* to 0.5. Do you take the "
        "larger of the two?",
    )
    two = function(features, error, sae, {0: 0.0, 3: 2.0})
    expect(
        not same(two, function(features, error, sae, {3: 2.0})),
        "of two clamped features only the last one is set. Does each turn of your loop begin anew "
        "with the unchanged code?",
    )
    expect(
        same(two, torch.tensor([[6.5, 27.5], [31.5, 36.5]])),
        "with two features clamped at once the result is not as expected.",
    )
    return "set and not added, several at once, error kept, the code left as it was."


class _Sizes(TorchFunctionMode):
    """Notes whether some operation gives a tensor whose last dimension is `width`."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.seen = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.ndim >= 2 and result.is_floating_point():
            self.seen |= result.shape[-1] == self.width and result.shape[0] == _ROWS
        return result


_ROWS = 7  # tokens in the batch that is looked at: no weight has this size


@check_of("clamp_step")
def check_clamp_step(function: Callable[..., Any]) -> str:
    """Diagnose `clamp_step(x, sae, values)` on a few tokens."""
    sae = _small_sae()
    x = torch.tensor([[2.0, 4.0], [-3.0, 3.0]])
    got = expect_tensor(function(x, sae, {1: 4.0}), (2, 2), "token, d_model")
    # Feature 1 stands at 3 on the first token and at 0 on the second; its decoder row is [0, 3].
    expected = torch.tensor([[0.0, 3.0], [0.0, 12.0]])
    expect(
        not same(got, torch.tensor([[0.0, 12.0], [0.0, 12.0]])),
        "every token is moved by α · W_dec,i, also the one where the feature is on already. The "
        "step is the *difference* between where the feature shall stand and where it stands.",
    )
    expect(
        not same(got, x + expected),
        "you return the stream after the step. The step alone is asked for.",
    )
    expect(not same(got, -expected), "the step goes the wrong way: it is α − f, not f − α.")
    expect(
        not same(got, torch.tensor([[0.0, 1.0], [0.0, 4.0]])),
        "you go along the *encoder's* column of the feature. What a feature writes stands in its "
        "decoder row.",
    )
    expect(
        not same(got, torch.tensor([[0.0, 9.0], [0.0, 12.0]])),
        "where the feature is on, it counts with its full activation, not with z − threshold.",
    )
    expect(
        not same(got, torch.tensor([[0.0, 3.0], [0.0, 6.0]])),
        "on the second token the feature has z = 2 and a threshold of 2: it is off there. Is the "
        "threshold in your step?",
    )
    expect(same(got, expected), "one feature clamped: the step is not (α − f) · W_dec,i.")
    two = function(x, sae, {3: 1.0, 0: 0.0})
    expect(
        same(two, torch.tensor([[-8.0, 1.0], [4.0, -2.0]])),
        "with two features clamped the step is not the sum of both. (Their order in `values` is "
        "free: keep each value with its feature.)",
    )
    width = 1000
    wide = {
        "W_enc": torch.zeros(2, width),
        "b_enc": torch.zeros(width),
        "threshold": torch.zeros(width),
        "W_dec": torch.zeros(width, 2),
        "b_dec": torch.zeros(2),
    }
    with _Sizes(width) as sizes:
        function(torch.ones(_ROWS, 2), wide, {5: 1.0})
    expect(
        not sizes.seen,
        "the step is right, but on the way you compute a tensor [token, d_sae] of all features. "
        "Take the columns and rows that you need *before* you multiply.",
    )
    nan = torch.full((2, 4), torch.nan)
    poisoned = {
        "W_enc": nan.clone(),
        "b_enc": nan[0].clone(),
        "threshold": nan[0].clone(),
        "W_dec": nan.T.clone(),
        "b_dec": torch.full((2,), torch.nan),
    }
    for name, weight in sae.items():
        if name == "W_enc":
            poisoned[name][:, 1] = weight[:, 1]
        elif name != "b_dec":
            poisoned[name][1] = weight[1]
    expect(
        same(torch.nan_to_num(function(x, poisoned, {1: 4.0}), nan=-99.0), expected),
        "your step uses something of features that are not clamped, or b_dec. Neither is needed.",
    )
    return "the difference α − f along the decoder's rows, and nothing of the other features."


@check_of("find_feature")
def check_find_feature(function: Callable[..., Any]) -> str:
    """Diagnose `find_feature(...)` on two halves of six documents and three features."""
    labels = torch.tensor([True, True, True, False, False, False])
    # Feature 0 separates the first half perfectly and the second badly; feature 1 is constant;
    # feature 2 is the better one on the second half only. Feature 3 is low where the concept is.
    choose = torch.tensor(
        [[3.0, 1.0, 1.0, 0.0], [2.0, 1.0, 0.0, 0.0], [4.0, 1.0, 1.0, 0.0],
         [1.0, 1.0, 0.0, 2.0], [0.0, 1.0, 1.0, 2.0], [1.0, 1.0, 0.0, 1.0]]
    )  # fmt: skip
    judge = torch.tensor(
        [[3.0, 1.0, 5.0, 0.0], [0.0, 1.0, 5.0, 0.0], [0.0, 1.0, 5.0, 0.0],
         [0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0], [2.0, 1.0, 0.0, 1.0]]
    )  # fmt: skip
    got = expect_pair(function(choose, labels, judge, labels), "feature, AUROC")
    feature, area = int(got[0]), float(got[1])
    expect(
        feature != 2,
        "the half that is there to judge the feature had a say in choosing it. Choose on the first "
        "half alone.",
    )
    expect(
        feature != 3,
        "you chose a feature that is *low* where the concept is. A feature stands for what it is "
        "on for.",
    )
    expect(
        feature == 0,
        f"feature {feature} was chosen. On the first half feature 0 is higher in every document "
        "of the concept than in any other.",
    )
    expect(
        area != 1.0,
        "1.0 is the AUROC on the half that chose the feature. Give the one on the other half.",
    )
    # Nine pairs: 3 wins, 4 ties, 2 losses.
    expect(
        abs(area - 7 / 9) > 1e-4,
        "you count ties as wins. Most activations are exactly 0, so most pairs tie: a tie is half.",
    )
    expect(
        abs(area - 3 / 9) > 1e-4,
        "you count ties as losses. Most activations are exactly 0, so most pairs tie: a tie is "
        "half a win.",
    )
    expect(
        abs(area - 5 / 9) < 1e-4,
        f"the AUROC on the second half is {area:.3f}; of its nine pairs three are won, four tied "
        "and two lost, which makes 5/9.",
    )
    return "chosen on one half, judged on the other, ties count half."


@check_of("clamp_reference")
def check_clamp_reference(function: Callable[..., Any]) -> str:
    """Diagnose `clamp_reference(activations)` on a feature that fires on every twentieth token."""
    activations = torch.zeros(40_020)
    activations[::20] = torch.arange(1.0, 2002.0)
    got = function(activations)
    expect(got is not None, "it returns None. Is the `return` missing?")
    value = float(got)
    expect(
        value != 2001.0,
        "you return the maximum. One freak token decides what that is; the 99.9th percentile is "
        "steadier.",
    )
    expect(
        abs(value - 1961.0) > 2,
        "you take the percentile over all tokens, the silent ones too. Then the reference of a "
        "rare feature is 0. Take the non-zero activations.",
    )
    expect(
        abs(value - 1999.0) <= 1.01,
        f"the non-zero activations are 1, 2, …, 2001; their 99.9th percentile is 1999, and you "
        f"return {value:g}.",
    )
    silent = function(torch.zeros(50))
    try:
        fine = float(silent) == 0.0
    except (TypeError, ValueError):
        fine = False
    expect(fine, f"a feature that never fires has the reference 0.0, not {silent!r}.")
    return "of the non-zero activations, the 99.9th percentile; 0 for a feature that never fires."


@check_of("make_intervention")
def check_make_intervention(function: Callable[..., Any]) -> str:
    """Diagnose `make_intervention(step, read)` with a reading that has a scale for each token."""
    dtypes: set[torch.dtype] = set()

    def read(x: Tensor) -> tuple[Tensor, Tensor]:
        dtypes.add(x.dtype)
        return x / 4.0, torch.full_like(x[..., :1], 4.0)

    def step(x_in: Tensor) -> Tensor:
        dtypes.add(x_in.dtype)
        return 1.0 + x_in

    intervention = function(step, read)
    expect(intervention is not None, "it returns None. Is the `return` missing?")
    expect(
        callable(intervention),
        f"it returns a {type(intervention).__name__}; return a *function* of the residual stream.",
    )
    resid = torch.full((2, 3, 2), 8.0)
    given = resid.clone()
    got = expect_tensor(intervention(resid), (2, 3, 2), "batch, pos, d_model")
    expect(
        torch.equal(resid, given),
        "the intervention changes the stream that it is given. Others hold that tensor: build a "
        "new one.",
    )
    # x_in is 2 everywhere, so the step is 3, and 3 in there is 12 in the stream.
    expect(
        not same(got, given + 3.0),
        "the step is added as the SAE sees it. The SAE reads the stream divided by `scale`, so a "
        "step of 1 there is a step of `scale` in the stream.",
    )
    expect(
        not same(got, given + 0.75),
        "you divide the step by the scale. It goes the other way: x = scale · x_in + …",
    )
    expect(
        not same(got, given + 36.0),
        "`step` is given the stream itself. It expects what the SAE reads: x_in.",
    )
    expect(
        not same(got, torch.full_like(given, 12.0)),
        "you return the step alone. The intervention returns the stream *after* it.",
    )
    if same(got, given / 4 + 12.0) or same(got, given / 4 + 3.0):
        raise CheckFailed("the step is added to x_in. Add it to the stream.")
    expect(same(got, given + 12.0), "the result is not resid + scale · step(x_in).")
    half = intervention(torch.full((1, 2, 2), 8.0, dtype=torch.float16))
    expect(
        half.dtype == torch.float16,
        f"a float16 stream comes back as {half.dtype}. The next block expects its own dtype: "
        "convert what you add.",
    )
    expect(
        not dtypes & {torch.float16, torch.bfloat16},
        "`read` and `step` are called with half precision. Compute in float32 and round once, at "
        "the end: the difference α − f of two nearly equal numbers is where half precision loses "
        "most.",
    )
    plain = function(lambda x: x + 1.0, lambda x: (x, 1.0))
    expect(
        same(plain(torch.ones(1, 1, 2)), torch.full((1, 1, 2), 3.0)),
        "it fails where the SAE reads the stream as it is: `scale` may be the number 1.0.",
    )
    return "out of place, dtype kept, in float32, and the scale of each token put back."
