"""`steerlab collect`: residuals of any text, as parquet shards."""

from __future__ import annotations

import argparse

from steerlab.commands import explained


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "collect",
        help="write a model's residuals on any text to parquet shards",
        description="Run texts through a model and write its residuals at one hook point to "
        "parquet shards, bfloat16 stored as uint16. Interrupted, it goes on with --resume.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a .txt file (blank lines between documents), a .jsonl file, a folder of them, "
        "'concepts' (the embedded corpus), 'fineweb', or 'hf:NAME[:CONFIG]'; the last two are "
        "streamed",
    )
    parser.add_argument("out", metavar="FOLDER", help="folder for the shards, made if missing")
    parser.add_argument("--model", default="tiny", help="a model's name or folder (%(default)s)")
    parser.add_argument(
        "--hook-name", help="e.g. blocks.6.hook_resid_pre; the model's usual one by default"
    )
    parser.add_argument("--tokens", type=int, help="stop after so many residuals")
    parser.add_argument(
        "--rows-per-shard", type=int, default=262_144, help="residuals a shard (%(default)s)"
    )
    parser.add_argument(
        "--context", type=int, help="tokens read at once; longer texts are read in windows (256)"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="texts at once (%(default)s)")
    parser.add_argument(
        "--text-key", default="text", help="field that holds the text (%(default)s)"
    )
    parser.add_argument(
        "--labels", nargs="+", default=(), metavar="FIELD", help="fields to keep as labels"
    )
    parser.add_argument("--seed", type=int, default=0, help="of 'concepts' (%(default)s)")
    parser.add_argument("--device", help="cpu or cuda; by default what the machine has")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the shards that FOLDER holds"
    )
    parser.set_defaults(run=explained("collect", _collect))


def _collect(arguments: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from steerlab.models import load_model
    from steerlab.pipeline.collecting import Progressed, collect_shards
    from steerlab.pipeline.sources import text_source
    from steerlab.settings import course_settings

    source = text_source(
        arguments.source,
        text_key=arguments.text_key,
        labels=arguments.labels,
        seed=arguments.seed,
    )
    if arguments.source == "concepts" and arguments.tokens is None:
        raise ValueError("'concepts' has no end: say how many residuals with --tokens")
    model = load_model(arguments.model, device=arguments.device)
    with tqdm(total=arguments.tokens, unit="residual", unit_scale=True) as bar:

        def report(done: Progressed) -> None:
            bar.update(done.rows - bar.n)
            bar.set_postfix(shards=done.shards, texts=done.texts)

        shards = collect_shards(
            model,
            source,
            arguments.out,
            arguments.hook_name or course_settings(model).hook_name,
            tokens=arguments.tokens,
            rows_per_shard=arguments.rows_per_shard,
            context=arguments.context,
            batch_size=arguments.batch_size,
            resume=arguments.resume,
            report=report,
        )
    assert shards.origin is not None
    print(
        f"{arguments.out}: {shards.rows:,} residuals of {shards.origin.model_name} at "
        f"{shards.origin.hook_name}, norm factor {shards.norm_factor:.6g}"
    )
    print(f"Next: steerlab train --config 8k --data {arguments.out} --out FOLDER")
    return 0
