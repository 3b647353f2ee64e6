"""The checks of assignment 06_interference."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from steerlab.checks.diagnosis import CheckFailed, check_of, expect, expect_pair, expect_tensor


def _number(value: Any, what: str) -> float:
    """A result as a number, or a diagnosis."""
    expect(value is not None, f"{what} is None. Is the `return` missing?")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise CheckFailed(f"{what} is a {type(value).__name__}, not a number.") from None


# -------------------------------------------------------------------------------- math_margin


@check_of("math_margin")
def check_math_margin(function: Callable[..., Any]) -> str:
    """Diagnose `math_margin(logits, is_math, is_token)` on five rows of a vocabulary."""
    is_math = torch.tensor([True, True, False, False, False])
    is_token = torch.tensor([True, True, True, True, False])  # the last row is no token at all

    def both(logits: list[float], dtype: torch.dtype = torch.float32) -> tuple[float, float]:
        given = torch.tensor([logits, logits], dtype=dtype)
        before = given.clone()
        margin, odds = expect_pair(function(given, is_math, is_token), "margin, log-odds")
        expect(torch.equal(given, before), "your function changes `logits` in place.")
        expect_tensor(margin, (2,), "prompt")
        expect_tensor(odds, (2,), "prompt")
        return float(margin[0]), float(odds[0])

    margin, _ = both([3.0, 2.0, 1.0, 0.0, -9.0])
    expect(
        abs(margin) > 1e-4,
        "the best token is mathematics by far, and your margin is 0. Are math tokens among the rest? "
        "Then mathematics is compared with itself.",
    )
    expect(abs(margin + 2) > 1e-3, "the margin has the wrong sign: mathematics minus the rest.")
    expect(abs(margin - 2) < 1e-3, f"the best logits are 3 and 1, and your margin is {margin:g}.")
    margin, odds = both([3.0, 2.0, 1.0, 0.0, 50.0])
    expect(
        abs(margin - 2) < 1e-3,
        "a row of the vocabulary that is no token (is_token False) takes part in the margin.",
    )
    expect(odds > -10, "a row that is no token (is_token False) takes part in the log-odds.")
    # A second math token as good as the first adds log 2 to the log-odds, and nothing to the margin.
    more = both([3.0, 3.0, 1.0, -40.0, 0.0])[1] - both([3.0, -40.0, 1.0, -40.0, 0.0])[1]
    expect(
        abs(more - 0.6931) < 1e-2,
        "twice as much probability on mathematics should add log 2 to the log-odds; yours change by "
        f"{more:.3f}. Add up probabilities, not logits, and take the logarithm of each side.",
    )
    _, far = both([200.0, 0.0, -200.0, -300.0, 0.0])
    expect(
        abs(far - 400) < 1,
        "with logits far apart the log-odds are not finite or wrong. A probability can be too small "
        "for float32; logsumexp never computes it.",
    )
    margin, _ = both([3.001, 2.0, 1.0, 0.0, 0.0], torch.float16)
    expect(abs(margin - 2) < 0.01, "half-precision logits give another margin: convert them first.")
    return "disjoint sets, no row without a token, log-odds over all tokens of a side."


# ------------------------------------------------------------------------- candidate_features


@check_of("candidate_features")
def check_candidate_features(function: Callable[..., Any]) -> str:
    """Diagnose `candidate_features(activity, prompt, is_code, chooses, k)` on six short prompts."""
    # Prompts 0 to 2 are code, 3 to 5 mathematics; 2 and 5 only judge. Prompt 0 is long.
    prompt = torch.tensor([0] * 8 + [1, 2, 3, 4, 5, 5])
    is_code = torch.tensor([True, True, True, False, False, False])
    chooses = torch.tensor([True, True, False, True, True, False])
    activity = torch.zeros(len(prompt), 7)
    activity[prompt == 0, 0], activity[prompt == 1, 0] = 1.0, 5.0  # 3 a prompt, 1.4 a token
    activity[prompt == 0, 1] = 5.0  # 2.5 a prompt, 4.4 a token
    activity[prompt == 2, 2] = 90.0  # only where nothing may choose
    activity[prompt == 3, 3], activity[prompt == 4, 3] = 4.0, 4.0  # mathematics
    activity[:, 4] = 60.0  # always on, everywhere
    activity[prompt == 5, 5] = 80.0
    activity[prompt == 4, 6] = 2.0
    code, math = expect_pair(
        function(activity, prompt, is_code, chooses, 2), "for code, for mathematics"
    )
    code = expect_tensor(code, (2,), "k").tolist()
    math = expect_tensor(math, (2,), "k").tolist()
    expect(
        2 not in code and 5 not in math,
        "a feature was chosen for its activity on prompts that only judge (chooses is False).",
    )
    expect(
        code[0] != 4 and math[0] != 4,
        "a feature that is on everywhere came first. Activity alone does not say code: subtract the "
        "mean over the other kind.",
    )
    expect(code[0] != 3, "code and mathematics are the wrong way round.")
    expect(
        code[0] != 1,
        "one long prompt outvoted the others: average over the tokens of each prompt first, then over "
        "prompts.",
    )
    expect(code == [0, 1], f"the best features for code are not the expected ones; yours: {code}.")
    expect(math == [3, 6], f"the best for mathematics are not the expected ones; yours: {math}.")
    return "a prompt counts once, differences of means, and only the prompts that may choose do."


# -------------------------------------------------------------------------------------- sweep


@check_of("sweep")
def check_sweep(function: Callable[..., Any]) -> str:
    """Diagnose `sweep(measure, direction, draw, n, alphas, stream_norm)` on a made-up model."""
    asked: list[torch.Tensor] = []
    drawn: list[int] = []
    generator = torch.Generator().manual_seed(0)

    def measure(vector: torch.Tensor) -> float:
        asked.append(vector.detach().clone())
        return 5.0 + float(vector[0])

    def draw(m: int) -> torch.Tensor:
        drawn.append(m)
        lengths = torch.linspace(0.5, 4.0, m)[:, None]
        return lengths * torch.nn.functional.normalize(
            torch.randn(m, 4, generator=generator), dim=1
        )

    direction, alphas = torch.tensor([3.0, 0.0, 0.0, 0.0]), [-1.0, 0.0, 2.0]
    found = expect_pair(function(measure, direction, draw, 5, alphas, 10.0), "observed, controls")
    observed = expect_tensor(found[0], (3,), "alpha").tolist()
    controls = expect_tensor(found[1], (5, 3), "n, alpha")
    expect(
        drawn == [5],
        f"draw was called {len(drawn)} times, for {drawn} controls. Draw all n once, before any loop: "
        "the same controls are used at every strength.",
    )
    expect(
        abs(observed[1]) < 1e-4,
        "at strength 0 the effect is not 0. Subtract the number that is measured with nothing added.",
    )
    expect(
        abs(observed[2] - 60) > 1e-2,
        "the direction was added at its own length (3 here) and not at length 1 times alpha times "
        "stream_norm: bring it to length 1 first.",
    )
    expect(abs(observed[2] - 2) > 1e-2, "stream_norm plays no part: alpha is a dose, not a length.")
    expect(
        abs(observed[0] + 10) < 1e-2 and abs(observed[2] - 20) < 1e-2,
        f"at doses −1 and 2 the effects should be −10 and 20 here; yours are {observed[0]:g} and "
        f"{observed[2]:g}.",
    )
    lengths = torch.stack(asked).norm(dim=1)
    allowed = torch.tensor([0.0, 10.0, 20.0])
    expect(
        bool(((lengths[:, None] - allowed).abs().min(dim=1).values < 1e-2).all()),
        "some of what is added is longer or shorter than |alpha| times stream_norm. The controls come "
        "at any length: bring them to the direction's.",
    )
    expect(
        bool((controls[:, 2] + 2 * controls[:, 0]).abs().max() < 1e-2),
        "a control's effects at doses −1 and 2 do not belong to one direction.",
    )
    return "controls drawn once, everything at one length, effects relative to nothing added."


# ------------------------------------------------------------------- rank_p, bootstrap_interval


@check_of("rank_p")
def check_rank_p(function: Callable[..., Any]) -> str:
    """Diagnose `rank_p(observed, controls)` on nine controls."""
    controls = torch.tensor([-5.0, -3.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    p = _number(function(9.0, controls), "the p-value")
    expect(p > 0, "p is 0 where no control reaches the effect. The effect is one of 1 + n itself.")
    expect(abs(p - 0.1) < 1e-6, f"no control of nine reaches the effect: p is 1/10, not {p:g}.")
    p = _number(function(4.0, controls), "the p-value")
    expect(
        abs(p - 0.1) > 1e-6,
        "a control of −5 is as strong as an effect of 4, the other way. Compare absolute values.",
    )
    p = _number(function(-3.0, controls), "the p-value")
    expect(abs(p - 0.2) > 1e-6, "a control exactly as large as the effect counts as reaching it.")
    expect(
        abs(p - 0.3) < 1e-6,
        f"for an effect of −3, two of the nine controls reach it: p is 3/10, not {p:g}.",
    )
    try:
        function(1.0, torch.zeros(0))
    except ValueError:
        return "two-sided, ties counted, never 0."
    except ZeroDivisionError:
        pass
    raise CheckFailed("without any control there is no p-value: raise a ValueError.")


@check_of("bootstrap_interval")
def check_bootstrap_interval(function: Callable[..., Any]) -> str:
    """Diagnose `bootstrap_interval(values, prompt, level, n_resamples, seed)` on twenty prompts."""

    def interval(values: torch.Tensor, prompt: torch.Tensor, level: float = 0.9, seed: int = 0):
        low, high = expect_pair(function(values, prompt, level, 2000, seed), "low, high")
        return _number(low, "low"), _number(high, "high")

    values, prompt = torch.arange(20.0), torch.arange(20)
    low, high = interval(values, prompt)
    expect(low < high, f"the interval goes from {low:g} to {high:g}.")
    expect(
        high - low < 12,
        "the interval is as wide as the values themselves: it holds resampled *means*, not values.",
    )
    expect(low < 9.5 < high, f"the mean is 9.5, and the interval is [{low:.2f}, {high:.2f}].")
    expect(
        3.8 < high - low < 4.8,
        f"its width is {high - low:.2f}; about 4.2 is expected. Does each resample draw as many prompts "
        "as there are, with replacement, and are the ends the right quantiles?",
    )
    wide = interval(values, prompt, level=0.99)
    expect(wide[1] - wide[0] > high - low, "a higher level should give a wider interval.")
    irregular = values.sqrt()  # means of whole numbers would often agree by chance
    twice = [interval(irregular, prompt) for _ in range(2)]
    expect(twice[0] == twice[1], "the same seed gives another interval.")
    tokens = interval(values.repeat_interleave(30), prompt.repeat_interleave(30))
    expect(
        tokens[1] - tokens[0] > 0.6 * (high - low),
        "each prompt now has 30 equal rows, and the interval became narrower, as if there were 600 "
        "prompts. Average the rows of a prompt first, then draw prompts.",
    )
    uneven = torch.cat([torch.zeros(100), torch.ones(1)]), torch.tensor([7] * 100 + [3])
    low, high = interval(*uneven, level=0.02)
    expect(
        low == high == 0.5,
        "of two prompts, one has 100 rows of 0 and one a single row of 1. Each counts as one prompt, so "
        f"the middle of the resampled means is 0.5; your interval there is [{low:.3f}, {high:.3f}].",
    )
    return "prompts are drawn, not rows; as many as there are; reproducible."


# --------------------------------------------------------------- valid_code, validity_shares


@check_of("valid_code")
def check_valid_code(function: Callable[..., Any]) -> str:
    """Diagnose `valid_code(source)` on a dozen short texts."""

    def judged(source: str) -> bool:
        try:
            verdict = function(source)
        except NotImplementedError:
            raise
        except Exception as error:
            raise CheckFailed(
                f"{source[:20]!r} raises {type(error).__name__}: what cannot be parsed is not valid, "
                "and that is an answer."
            ) from None
        if not isinstance(verdict, bool):
            raise CheckFailed(f"return True or False; it returns a {type(verdict).__name__}.")
        return verdict

    for source in ("x = 1", "import os", "print(3 + 4)", "for i in range(3):\n    pass", "a.b"):
        expect(judged(source), f"{source!r} is valid code, and does more than name something.")
    expect(judged("word\nx = 1"), "one bare name beside a real statement does not spoil it.")
    for source in ("print(", "if x:", "x = = 1", "def f(:"):
        expect(not judged(source), f"{source!r} does not parse.")
    for source in ("", "\n\n", "# nothing"):
        expect(not judged(source), f"an empty block counts as valid code: {source!r}.")
    expect(not judged("banana"), "a bare name counts as valid code. Almost any single word would.")
    for source in ("42", "'hello'", "None", "banana\n42"):
        expect(not judged(source), f"bare names and constants count as valid code: {source!r}.")
    expect(not judged("x\x00= 1"), "a null byte is not valid code.")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        judged(f"open({str(made)!r}, 'w').close()")
        expect(
            not made.exists(),
            "your function runs the source. Parse it; never run what a model wrote.",
        )
    return "parsed and never run; empty blocks, bare names and bare constants are not valid."


@check_of("validity_shares")
def check_validity_shares(function: Callable[..., Any]) -> str:
    """Diagnose `validity_shares(present, valid)` on four texts."""
    present = torch.tensor([True, True, False, False])
    valid = torch.tensor([True, False, True, False])  # of an absent block it means nothing
    result = function(present, valid)
    expect(result is not None, "it returns None. Is the `return` missing?")
    expect(
        isinstance(result, tuple | list) and len(result) == 3,
        "return three shares: present, valid if present, present and valid.",
    )
    first, middle, last = result
    expect(abs(_number(first, "P(present)") - 0.5) < 1e-6, f"P(present) is 1/2, not {first}.")
    expect(
        middle is not None and abs(float(middle) - 1.0) > 1e-6,
        "valid was counted where nothing is present: there it means nothing.",
    )
    expect(
        abs(float(middle) - 0.25) > 1e-6,
        "P(valid | present) is a share of the texts *with* a block, not of all texts.",
    )
    expect(abs(float(middle) - 0.5) < 1e-6, f"P(valid | present) is 1/2, not {middle}.")
    expect(abs(_number(last, "P(both)") - 0.25) < 1e-6, f"P(present and valid) is 1/4, not {last}.")
    try:
        nothing = function(torch.tensor([False, False]), torch.tensor([True, True]))
    except ZeroDivisionError:
        raise CheckFailed(
            "where nothing is present it divides by 0. That share is missing: None."
        ) from None
    expect(
        nothing[1] is None,
        f"where nothing is present, P(valid | present) is missing: None, not {nothing[1]}.",
    )
    expect(float(nothing[2]) == 0, "nothing is present, so nothing is present and valid.")
    try:
        function(torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.bool))
    except ValueError:
        return "three shares, and what is missing is None."
    except ZeroDivisionError:
        pass
    raise CheckFailed("no texts at all: raise a ValueError.")
