"""What a clamp costs while a model writes.

    python -m benchmarks.clamp [--quick] [--device cuda]

Generation is timed unsteered, with one feature clamped by `ClampFeatures`, and with the same clamp
in its textbook form, which encodes the residual twice and decodes it twice (once for the error,
once for the clamped code). The two forms of the clamp write the same text. Two settings:

- embedded: the embedded model and the JumpReLU autoencoder that ships with it;
- wide: d_model 2304, as in Gemma-2-2b, and 65,536 latents. All weights are random, and the model has
  4 layers where Gemma has 26, to fit into 8 GB in float32. With fewer layers a clamp weighs more:
  the ratio over the unsteered model is a lower bound for the deep one, and the ratio over the
  textbook form an upper bound.

The three ways take turns, in another order each time, so that other work on the machine hits all of
them; a ratio is the median of the ratios within one turn. Timed is the writing, inside a `steer` block;
what it takes to enter the block, once, is measured apart. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from steerlab import load_model
from steerlab.generation import generate
from steerlab.sae import SAE, ClampFeatures, load_labels, load_sae
from steerlab.steering import Intervention, steer
from steerlab.tiny import CHECKPOINT
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

STEERED_OVER_UNSTEERED = 0.95  # at least this share of the unsteered tokens a second
OVER_TEXTBOOK = 1.0  # at least as fast as the textbook form
WAYS = ("unsteered", "clamp", "textbook")
PROMPT = "Write a haiku.\n"


@dataclass(frozen=True)
class TextbookClamp:
    """Encode, clamp, decode, add the error: every step on the whole dictionary."""

    sae: SAE
    values: Mapping[int, float]

    def __call__(self, resid: Tensor) -> Tensor:
        error = resid - self.sae(resid)
        code = self.sae.encode(resid)
        for feature, value in self.values.items():
            code[..., feature] = value
        return (self.sae.decode(code, resid) + error).to(resid.dtype)


@dataclass(frozen=True)
class Setting:
    """One model with one feature of one autoencoder to clamp, and how much to write."""

    name: str
    what: str
    model: TransformerBridge
    sae: SAE
    values: Mapping[int, float]
    tokens: int
    turns: int


@dataclass(frozen=True)
class Timing:
    """Medians of one setting: tokens a second for each way, the two ratios, and the entry.

    entry_seconds: what it takes to enter and leave `steer`, once for all that is written inside.
    """

    tokens_per_second: dict[str, float]
    steered_over_unsteered: float
    over_textbook: float
    entry_seconds: float


def embedded(tokens: int, turns: int, device: str = "cpu") -> Setting:
    """The embedded model with the feature for its first topic, at that feature's reference."""
    model = load_model("tiny", device=device)
    sae = load_sae("tiny", model)
    label = load_labels("tiny").search("baseball")[0]
    what = f"the embedded model, d_model {sae.d_in}, {sae.d_sae:,} latents"
    return Setting("embedded", what, model, sae, {label.feature: label.p999}, tokens, turns)


def wide(
    tokens: int,
    turns: int,
    device: str = "cpu",
    *,
    d_model: int = 2304,
    d_sae: int = 65_536,
    n_layers: int = 4,
) -> Setting:
    """A random GPT-2 and a random JumpReLU autoencoder of these sizes."""
    model = random_model(d_model, n_layers, device)
    hook_name = f"blocks.{n_layers // 2}.hook_resid_pre"
    sae = random_sae(d_model, d_sae, hook_name, device)
    what = f"random weights, {n_layers} layers, d_model {d_model}, {d_sae:,} latents"
    return Setting("wide", what, model, sae, {d_sae // 2: 5.0}, tokens, turns)


def random_model(d_model: int, n_layers: int, device: str) -> TransformerBridge:
    """A GPT-2 of random weights, with the embedded model's tokenizer."""
    from tempfile import TemporaryDirectory

    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=d_model,
        n_layer=n_layers,
        n_head=max(1, d_model // 128),
        n_positions=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        GPT2LMHeadModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return load_model(folder, device=device, dtype=torch.float32)


def random_sae(d_model: int, d_sae: int, hook_name: str, device: str) -> SAE:
    """A JumpReLU autoencoder of which a few latents in a hundred fire."""
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    decoder = draw(d_sae, d_model).div_(d_model**0.5)
    return SAE(
        draw(d_model, d_sae).div_(d_model**0.5),
        torch.zeros(d_sae, device=device),
        decoder,
        torch.zeros(d_model, device=device),
        activation="jumprelu",
        threshold=torch.full((d_sae,), 2.0, device=device),
        hook_name=hook_name,
    )


def measure(setting: Setting, say: Callable[[str], None] = print) -> Timing:
    """Time the three ways in turns. Raises RuntimeError where they do not write what they should."""
    clamp = ClampFeatures(setting.sae, setting.values)
    ways: dict[str, Intervention | None] = {
        "unsteered": None,
        "clamp": clamp,
        "textbook": TextbookClamp(setting.sae, setting.values),
    }
    _check(setting, clamp, ways["textbook"])
    for name in WAYS:
        _seconds(setting, clamp.hook_name, ways[name])  # not counted: caches fill
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(setting.turns):
        first = turn % len(WAYS)
        for name in WAYS[first:] + WAYS[:first]:
            seconds[name].append(_seconds(setting, clamp.hook_name, ways[name]))
    rates = {name: setting.tokens / statistics.median(values) for name, values in seconds.items()}
    timing = Timing(
        rates,
        _median_ratio(seconds["unsteered"], seconds["clamp"]),
        _median_ratio(seconds["textbook"], seconds["clamp"]),
        _entry_seconds(setting, clamp),
    )
    say(f"{setting.name}: {setting.what}; {setting.tokens} tokens, {setting.turns} turns")
    for name in WAYS:
        say(f"  {name:10} {rates[name]:8.1f} tokens/s")
    say(f"  entering and leaving `steer`, once: {1000 * timing.entry_seconds:.1f} ms")
    return timing


def _seconds(setting: Setting, hook_name: str, intervention: Intervention | None) -> float:
    """Wall time of writing the setting's number of tokens, with the hooks already in place."""
    with _steered(setting, hook_name, intervention):
        started = time.perf_counter()
        written = generate(setting.model, PROMPT, max_new_tokens=setting.tokens)[0].tokens
        seconds = time.perf_counter() - started
    if len(written) != setting.tokens:
        raise RuntimeError(
            f"{setting.name}: the text ended after {len(written)} of {setting.tokens} tokens; ask for fewer"
        )
    return seconds


def _steered(
    setting: Setting, hook_name: str, intervention: Intervention | None
) -> AbstractContextManager[None]:
    if intervention is None:
        return nullcontext()
    return steer(setting.model, {hook_name: intervention})


def _entry_seconds(setting: Setting, clamp: ClampFeatures) -> float:
    """Median wall time of entering and leaving an empty `steer` block: paid once, not a token."""
    taken = []
    for _ in range(max(5, setting.turns)):
        started = time.perf_counter()
        with _steered(setting, clamp.hook_name, clamp):
            pass
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


@torch.no_grad()
def _check(setting: Setting, clamp: Intervention, textbook: Intervention | None) -> None:
    """Both forms of the clamp make the same residual of the same residual, and change it."""
    assert textbook is not None
    device = setting.sae.W_enc.device
    x = torch.randn(1, 4, setting.sae.d_in, generator=torch.Generator().manual_seed(1)).to(device)
    short, long = clamp(x), textbook(x)
    if not torch.allclose(short, long, atol=1e-3, rtol=1e-3) or torch.allclose(short, x):
        raise RuntimeError(f"{setting.name}: the two forms of the clamp differ; nothing to compare")


def _median_ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clamp", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="fewer turns and tokens")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    chosen = parser.parse_args(arguments)
    # A haiku of the embedded model is over after some twenty tokens.
    sizes = {"embedded": (12, 15 if chosen.quick else 60), "wide": (8, 3 if chosen.quick else 9)}
    report: dict[str, dict[str, float]] = {}
    for name, make in (("embedded", embedded), ("wide", wide)):
        timing = measure(make(*sizes[name], chosen.device))
        report[name] = {
            "steered_over_unsteered": round(timing.steered_over_unsteered, 3),
            "over_textbook": round(timing.over_textbook, 3),
            "entry_ms": round(1000 * timing.entry_seconds, 2),
        }
        for key, threshold in (
            ("steered_over_unsteered", STEERED_OVER_UNSTEERED),
            ("over_textbook", OVER_TEXTBOOK),
        ):
            verdict = "ok" if report[name][key] >= threshold else "MISSED"
            print(f"  {key:24} {report[name][key]:7.3f}   (>= {threshold:g}: {verdict})")
    both = ("steered_over_unsteered", "over_textbook")
    lowest = {key: min(row[key] for row in report.values()) for key in both}
    print(
        json.dumps(
            {
                **lowest,
                **report,
                "device": chosen.device,
                "threads": torch.get_num_threads(),
                "target_steered_over_unsteered": STEERED_OVER_UNSTEERED,
                "ok": lowest["steered_over_unsteered"] >= STEERED_OVER_UNSTEERED,
            }
        )
    )


if __name__ == "__main__":
    main()
