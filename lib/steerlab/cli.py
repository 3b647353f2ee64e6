"""The command `steerlab`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from steerlab.commands import collect, doctor, evaluate, explore, find, steer, train
from steerlab.handin import check_notebook


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Exit code 0: all well; 1: something to mend; 2: wrong usage."""
    parser = argparse.ArgumentParser(
        prog="steerlab", description="Steer language models and train sparse autoencoders."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check", help="say what would go wrong with your notebook in grading; nothing is run"
    )
    check.add_argument("notebook", metavar="NOTEBOOK", help="path of the .ipynb file")
    _add_convert(commands)
    for command in (doctor, collect, train, find, steer, evaluate, explore):
        command.add_to(commands)
    arguments = parser.parse_args(argv)
    if hasattr(arguments, "run"):
        return int(arguments.run(arguments))
    if arguments.command == "convert":
        return _convert(arguments)
    return _check(arguments.notebook)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    convert = commands.add_parser(
        "convert", help="bring somebody else's sparse autoencoder into SAELens's format"
    )
    convert.add_argument("checkpoint", metavar="CHECKPOINT", help=".pt or .safetensors file")
    convert.add_argument("out", metavar="FOLDER", help="folder to write, made if missing")
    convert.add_argument("--hook-name", required=True, help="e.g. blocks.18.hook_resid_pre")
    convert.add_argument("--model-name", help="the model that it was trained on")
    convert.add_argument("--activation", choices=("relu", "topk", "jumprelu"))
    convert.add_argument("--k", type=int, help="non-zero latents of a topk autoencoder")
    convert.add_argument(
        "--scale", type=float, default=1.0, help="what residuals were multiplied by in training"
    )
    convert.add_argument(
        "--b-dec-on-input", choices=("yes", "no"), help="is b_dec subtracted before encoding?"
    )
    convert.add_argument(
        "--ignore", nargs="+", default=(), metavar="NAME", help="tensors to pass over"
    )


def _convert(arguments: argparse.Namespace) -> int:
    from steerlab.sae.convert import convert_checkpoint
    from steerlab.sae.files import save_sae

    said = arguments.b_dec_on_input
    try:
        sae = convert_checkpoint(
            arguments.checkpoint,
            hook_name=arguments.hook_name,
            model_name=arguments.model_name,
            activation=arguments.activation,
            k=arguments.k,
            scale=arguments.scale,
            b_dec_on_input=None if said is None else said == "yes",
            ignore=arguments.ignore,
        )
        save_sae(sae, arguments.out)
    except (ValueError, OSError) as error:
        print(f"steerlab convert: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {sae.extra_repr()}")
    print(f'Load it with steerlab.sae.load_sae("{arguments.out}", model): it checks the fit.')
    return 0


def _check(notebook: str) -> int:
    try:
        findings = check_notebook(notebook)
    except OSError as error:
        print(f"steerlab check: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding)
    problems = sum(finding.level == "problem" for finding in findings)
    if problems:
        print(f"{notebook}: {problems} to mend before you hand it in.")
        return 1
    print(f"{notebook}: nothing stands in the way of grading.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
