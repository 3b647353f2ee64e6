"""`steerlab find`: what the features of an autoencoder stand for."""

from __future__ import annotations

import argparse
import os

from steerlab.commands import explained

KEY_VARIABLES = ("STEERLAB_API_KEY", "OPENAI_API_KEY")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "find",
        help="find what features stand for: contexts, dead ones, labels",
        description="Encode shards and write where features fire: labels.json, contexts.jsonl, "
        "dead.json, cards.html. Labels are the corpus's own, or a language model's behind any "
        "OpenAI-compatible endpoint; repeated, the command asks for the missing ones only.",
    )
    parser.add_argument("sae", metavar="SAE", help="a run's folder, or a name that load_sae knows")
    parser.add_argument("--data", required=True, help="folder of shards that collect wrote")
    parser.add_argument("--out", help="folder to write; SAE/features by default")
    parser.add_argument("--model", help="whose tokenizer; the shards' own model by default")
    parser.add_argument("--tokens", type=int, default=500_000, help="to read (%(default)s)")
    parser.add_argument("--features", type=int, nargs="+", metavar="N", help="only these")
    parser.add_argument(
        "--limit", type=int, default=100, help="features to show and name (%(default)s)"
    )
    parser.add_argument("--top", type=int, default=8, help="contexts of each (%(default)s)")
    parser.add_argument("--device", help="cpu or cuda; cpu by default")
    parser.add_argument("--endpoint", metavar="URL", help="who names features, https://…/v1")
    parser.add_argument("--endpoint-model", default="gpt-4o-mini", help="its model (%(default)s)")
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"for the endpoint; by default what {' or '.join(KEY_VARIABLES)} holds",
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds (%(default)s)")
    parser.set_defaults(run=explained("find", _find))


def _find(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from tqdm.auto import tqdm

    from steerlab.pipeline.endpoint import Endpoint
    from steerlab.pipeline.errors import PipelineError
    from steerlab.pipeline.finding import find_features
    from steerlab.pipeline.models import tokenizer_of
    from steerlab.pipeline.shards import Shards
    from steerlab.sae.pretrained import load_sae

    sae = load_sae(arguments.sae, device=arguments.device)
    shards = Shards(arguments.data)
    out = arguments.out or (f"{arguments.sae}/features" if Path(arguments.sae).is_dir() else None)
    if out is None:
        raise PipelineError("name the folder to write with --out")
    endpoint = None
    if arguments.endpoint:
        key = arguments.api_key or next(filter(None, map(os.environ.get, KEY_VARIABLES)), None)
        endpoint = Endpoint(
            arguments.endpoint, key, arguments.endpoint_model, timeout=arguments.timeout
        )
    name = arguments.model or (shards.origin.model_name if shards.origin else None)
    with tqdm(unit_scale=True) as bar:

        def report(what: str, done: int, whole: int) -> None:
            if bar.desc != f"{what}: ":
                bar.reset(whole)
                bar.set_description(what)
            bar.update(done - bar.n)

        found = find_features(
            sae,
            shards,
            tokenizer_of(name),
            out,
            endpoint=endpoint,
            features=arguments.features,
            limit=arguments.limit,
            tokens=arguments.tokens,
            top=arguments.top,
            report=report,
        )
    print(
        f"{found.folder}: {len(found.dead):,} of {sae.d_sae:,} features are dead on "
        f"{found.n_tokens:,} tokens"
    )
    for feature in list(found.contexts)[:10]:
        label = found.labels[feature]
        score = "" if label.detection is None else f", detection {label.detection:.2f}"
        words = " ".join(token.strip() for token in label.tokens)
        print(f"  {feature:>7}  {label.concept or 'no label'}{score}  [{words}]")
    for feature, reason in found.unlabelled.items():
        print(f"  {feature:>7}  not labelled: {reason}; repeat the command to ask again")
    print(f"Contexts of {len(found.contexts)} features: {found.folder / 'cards.html'}")
    return 0
