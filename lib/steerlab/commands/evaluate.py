"""`steerlab evaluate`: an interference sweep from flags or a YAML file, with files and pictures.

In Python it is three lines:

    plan = plan_sweep(model, sae, feature="code")
    result = run_sweep(model, plan, "results/code")
    print(result.summary()["metrics"]["margin"]["all"]["slope"])
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerlab.evaluation import SweepResult


@dataclass(frozen=True)
class Setting:
    """One setting: what it is by default, how its text is read, and what `--help` says."""

    default: Any
    read: Callable[[Any], Any]
    help: str


def _text(value: Any) -> str:
    if not isinstance(value, str | int | os.PathLike):
        raise ValueError("expected a text")
    return str(value)


def _number(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or float(value) != number:
        raise ValueError("expected a whole number")
    return number


def _numbers(value: Any) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(float(part) for part in parts)


def _words(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(str(part).strip() for part in parts if str(part).strip())


SETTINGS: dict[str, Setting] = {
    "model": Setting("tiny", _text, "a model's name or a checkpoint folder"),
    "sae": Setting(
        None, _text, "an autoencoder for load_sae: a name or a folder ('none' for no sae)"
    ),
    "feature": Setting(
        None, _text, "'code' or 'math' (the best candidate on the selection prompts) or an index"
    ),
    "direction": Setting(
        None,
        _text,
        "instead of a feature: 'mean-difference', or FILE.safetensors or FILE.safetensors:NAME",
    ),
    "hook_name": Setting(
        None, _text, "where to add it (default: the autoencoder's, or the middle layer)"
    ),
    "alphas": Setting(
        None, _numbers, "strengths as doses, e.g. --alphas=-1,-0.5,0.5,1; 0 joins them"
    ),
    "prompts": Setting(None, _text, "'english', 'concepts' or a JSON file of prompts"),
    "limit": Setting(None, _number, "at most so many prompts of each kind"),
    "controls": Setting(99, _number, "control directions of each family"),
    "first_controls": Setting(19, _number, "how many of them also begin completions (LaTeX-first)"),
    "text_controls": Setting(3, _number, "how many of them also write whole completions"),
    "text_kinds": Setting(
        ("mixed",), _words, "kinds of prompts that get completions, e.g. mixed,code"
    ),
    "max_new_tokens": Setting(48, _number, "length of a completion"),
    "mode": Setting(None, _text, "'raw' or 'chat' (default: what the model was made for)"),
    "math_tokens": Setting((), _words, "further tokens to count as mathematics, e.g. =,+"),
    "batch_size": Setting(32, _number, "prompts a forward pass"),
    "seed": Setting(0, _number, "of the controls"),
    "device": Setting(None, _text, "'cpu' or 'cuda' (default: what the machine has)"),
    "out": Setting("results/interference", _text, "folder for records, tables and plots"),
}


def add_command(commands: Any) -> None:
    """Register `steerlab evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        help="measure what a feature or direction does to everything else, beside random controls",
        description="An interference sweep. Interrupted, it goes on where it stopped when run again.",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file of these settings; flags win over it"
    )
    for name, setting in SETTINGS.items():
        shown = "" if setting.default in (None, ()) else f" (default {_shown(setting.default)})"
        parser.add_argument(
            f"--{name.replace('_', '-')}", metavar="VALUE", help=setting.help + shown
        )
    parser.add_argument("--no-plots", action="store_true", help="write no pictures")
    parser.set_defaults(run=evaluate)


def evaluate(arguments: argparse.Namespace) -> int:
    """Run the command. Exit code 0: done; 1: interrupted or out of space; 2: wrong usage."""
    from steerlab.hub import ModelUnavailable

    try:
        settings = read_settings(arguments)
        return _run(settings, plots=not arguments.no_plots)
    except KeyboardInterrupt:
        print("\nsteerlab evaluate: stopped; the same command goes on from here.", file=sys.stderr)
        return 1
    except OSError as error:
        out_of_space = getattr(error, "errno", None) == 28
        rest = "; make room, and the same command goes on from here" if out_of_space else ""
        print(f"steerlab evaluate: {error}{rest}", file=sys.stderr)
        return 1 if out_of_space else 2
    except (ValueError, TypeError, ModelUnavailable) as error:
        print(f"steerlab evaluate: {error}", file=sys.stderr)
        return 2


def read_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Defaults, under the YAML file, under the flags. Raises ValueError naming what is wrong."""
    settings = {name: setting.default for name, setting in SETTINGS.items()}
    given = {name: getattr(arguments, name, None) for name in SETTINGS}
    flags = {name: value for name, value in given.items() if value is not None}
    from_file = _read_yaml(arguments.config) if arguments.config else {}
    for where, values in ((arguments.config, from_file), ("", flags)):
        for name, value in values.items():
            if value is None:
                continue
            shown = f"{where}: {name}" if where else f"--{name.replace('_', '-')}"
            try:
                settings[name] = SETTINGS[name].read(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{shown}: {value!r} cannot be read ({error})") from None
    return settings


def _read_yaml(path: str) -> Mapping[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no settings; expected lines such as `model: tiny`")
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    for name in values:
        if name not in SETTINGS:
            close = get_close_matches(name, SETTINGS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(SETTINGS)}"
            raise ValueError(f"{path}: unknown setting {name!r}; {hint}")
    return values


def _run(settings: dict[str, Any], *, plots: bool) -> int:
    from steerlab.evaluation import math_tokens, plan_sweep, run_sweep
    from steerlab.evaluation.sweep_plan import ALPHAS
    from steerlab.models import load_model
    from steerlab.sae import load_sae
    from steerlab.settings import course_settings

    model = load_model(settings["model"], device=settings["device"])
    name = settings["sae"]
    if name is None and settings["hook_name"] is None:
        name = course_settings(model).sae
    sae = None if name in (None, "none") else load_sae(name, model)
    feature, direction = settings["feature"], settings["direction"]
    if feature is None and direction is None and sae is None:
        direction = "mean-difference"
    plan = plan_sweep(
        model,
        sae,
        feature=feature,
        direction=_direction(direction),
        name=None if direction in (None, "mean-difference") else Path(direction).name,
        hook_name=settings["hook_name"],
        alphas=settings["alphas"] or ALPHAS,
        prompts=settings["prompts"],
        limit=settings["limit"],
        n_controls=settings["controls"],
        mode=settings["mode"],
        seed=settings["seed"],
        first_controls=settings["first_controls"],
        text_controls=settings["text_controls"],
        text_kinds=settings["text_kinds"],
        max_new_tokens=settings["max_new_tokens"],
    )
    print(
        f"{plan.name} at {plan.hook_name}: dose 1 is coefficient {plan.coefficient:.4g}, "
        f"{len(plan.prompts)} prompts, controls: "
        + ", ".join(f"{len(rows)} {family}" for family, rows in plan.controls.items())
    )
    out = Path(settings["out"])
    result = run_sweep(
        model,
        plan,
        out,
        tokens=math_tokens(model, settings["math_tokens"]),
        batch_size=settings["batch_size"],
    )
    print(table(result))
    print(f"{out}: records.jsonl, summary.json, summary.csv")
    if plots:
        for path in draw(result, out / "plots"):
            print(path)
    return 0


def _direction(direction: str | None) -> Any:
    """The name of a direction, or a vector from a safetensors file."""
    if direction is None or direction == "mean-difference":
        return direction
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path, _, name = direction.partition(".safetensors")
    file = Path(f"{path}.safetensors")
    if not direction.startswith(str(file)) or not file.is_file():
        raise ValueError(
            f"--direction is 'mean-difference' or FILE.safetensors[:NAME]; there is no such file: {direction}"
        )
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    name = name.removeprefix(":")
    if not name and len(tensors) == 1:
        [name] = tensors
    if name not in tensors:
        raise ValueError(f"{file} holds {', '.join(sorted(tensors))}; name one: {file}:NAME")
    return tensors[name]


def table(result: SweepResult) -> str:
    """The changes at each strength with their intervals and p-values, as text."""
    summary = result.summary()
    lines = []
    for metric, kinds in summary["metrics"].items():
        found = kinds["all"]
        families = list(result.families(metric))
        head = "".join(f"{'p ' + family:>18}" for family in families)
        lines.append(f"\n{metric:<26}{'value':>9}{'change':>9}{'95% interval':>20}{head}")
        for point in found["points"]:
            low, high = point["change_interval"]
            interval = "" if low is None else f"[{low:+.3f}, {high:+.3f}]"
            p = "".join(f"{_cell(point['controls'].get(f, {}).get('p')):>18}" for f in families)
            lines.append(
                f"  dose {point['alpha']:+6.2f} ({point['coefficient']:+9.3g}) "
                f"{_cell(point['value']):>9}{_cell(point['change']):>9}{interval:>20}{p}"
            )
        p = "".join(f"{_cell(found['slope']['controls'][f]['p']):>18}" for f in families)
        lines.append(
            f"  {'slope over the doses':<34}{_cell(found['slope']['value']):>9}{'':>20}{p}"
        )
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


_LABELS = {
    "margin": "math margin\n(logits)",
    "latex_first": "begins with LaTeX\n(share)",
    "code_present_and_valid": "code there and valid\n(share)",
    "latex_present_and_valid": "LaTeX there and valid\n(share)",
}


def draw(result: SweepResult, folder: Path) -> list[Path]:
    """The pictures of a sweep as PNG files: the overlay, and effect over KL."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from steerlab.plots import effect_by_price, interference_overlay

    folder.mkdir(parents=True, exist_ok=True)
    metrics = result.summary()["metrics"]
    name = result.plan["name"]
    panels = {label: metrics[m]["all"]["points"] for m, label in _LABELS.items() if m in metrics}
    numbers = ", ".join(f"{n} {family}" for family, n in result.plan["controls"].items())
    n = f"{len(result.prompts)} prompts; controls: {numbers}"
    provenance = "steerlab evaluate"
    shares = [label for label in panels if "share" in label]
    paths = []
    interference_overlay(panels, n=n, name=name, shares=shares, provenance=provenance)
    paths.append(_save(plt, folder / "overlay.png"))
    effect_by_price(
        result.effects("kl"), result.effects("margin"), result.families("margin"),
        n=n, name=name, ylabel="change of the math margin (logits)", provenance=provenance,
    )  # fmt: skip
    paths.append(_save(plt, folder / "effect_by_kl.png"))
    return paths


def _save(plt: Any, path: Path) -> Path:
    figure = plt.gcf()
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
