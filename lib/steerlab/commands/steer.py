"""`steerlab steer`: text with a feature turned up, beside the same text without."""

from __future__ import annotations

import argparse
from typing import Any

from steerlab.commands import explained


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "steer",
        help="write with one feature of an autoencoder turned up or down",
        description="Complete prompts with and without one feature steered, and say what it cost.",
    )
    parser.add_argument(
        "sae", metavar="SAE", help="a run's folder, or a name that load_sae knows, e.g. tiny"
    )
    parser.add_argument("feature", metavar="FEATURE", help="a number, or a concept such as ocean")
    parser.add_argument("prompts", metavar="PROMPT", nargs="*", help="the course's by default")
    parser.add_argument("--model", help="by default the one that the autoencoder was trained on")
    parser.add_argument("--labels", help="labels.json; by default what find wrote beside SAE")
    parser.add_argument(
        "--how", choices=("clamp", "add"), default="clamp", help="clamp it, or add its decoder row"
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--dose", type=float, help="‖Δ‖ over the residual's norm, e.g. 0.4")
    amount.add_argument("--value", type=float, help="the activation or coefficient itself")
    parser.add_argument(
        "--positions",
        choices=("all", "prompt", "generated", "newest_only"),
        default="all",
        help="which tokens are steered (%(default)s)",
    )
    parser.add_argument("--max-new-tokens", type=int, help="length of a completion")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--seed", type=int, default=0, help="of sampling (%(default)s)")
    parser.add_argument("--mode", choices=("raw", "chat"), help="the model's usual one by default")
    parser.add_argument("--device", help="cpu or cuda; by default what the machine has")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=explained("steer", _steer))


def _steer(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from steerlab.models import load_model
    from steerlab.pipeline.models import loadable
    from steerlab.pipeline.steered import steer_feature
    from steerlab.sae.pretrained import load_sae

    name = arguments.model
    if name is None:
        name = loadable(load_sae(arguments.sae).model_name)
    model = load_model(name, device=arguments.device)
    found = steer_feature(
        model,
        load_sae(arguments.sae, model),
        arguments.feature,
        arguments.prompts or None,
        labels=_labels(arguments.sae, arguments.labels),
        how=arguments.how,
        dose=arguments.dose,
        value=arguments.value,
        positions=arguments.positions,
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        seed=arguments.seed,
        mode=arguments.mode,
    )
    if arguments.json:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return 0
    what = f"feature {found.feature}" + (f" ({found.concept})" if found.concept else "")
    set_to = "clamped to" if found.how == "clamp" else "decoder row added, times"
    of = f" = {found.coefficient / found.reference:+.2f} × its reference" if found.reference else ""
    print(f"{what}: {set_to} {found.coefficient:+.4g}{of}; dose {found.dose:.2f}")
    for plain, steered in zip(found.plain, found.steered, strict=True):
        print(
            f"\n{plain.prompt}\n  unsteered: {plain.text.strip()}\n  steered:   {steered.text.strip()}"
        )
    for words, cost in (("unsteered", found.plain_fluency), ("steered", found.steered_fluency)):
        shares = [("NLL", cost.nll), ("distinct-2", cost.distinct2), ("repeated", cost.repeated)]
        numbers = ", ".join(f"{n} {'-' if v is None else format(v, '.2f')}" for n, v in shares)
        print(f"{'' if words == 'steered' else chr(10)}{words}: {numbers}")
    return 0


def _labels(sae: str, given: str | None) -> Any:
    """Labels from a file, beside a run, or of an autoencoder that ships; None where there are none."""
    from pathlib import Path

    from steerlab.sae.pretrained import load_labels

    if given is not None:
        return load_labels(given)
    for path in (Path(sae) / "features" / "labels.json", Path(sae) / "labels.json"):
        if path.is_file():
            return load_labels(path)
    return load_labels(sae) if sae == "tiny" or sae.startswith("tiny/") else None
