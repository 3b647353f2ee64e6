"""Shards: what is written is what the model had, and no interruption loses or changes a row."""

from __future__ import annotations

import errno
import gzip
import json
import resource
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.activations import collect
from steerlab.cli import main
from steerlab.pipeline import PipelineError, Shards, collect_shards, shard_files, text_source
from steerlab.pipeline.shard_files import Origin, Rows, write_shard
from steerlab.pipeline.stream import Stream

HOOK = "blocks.1.hook_resid_pre"
WORDS = (
    "the",
    "movie",
    "was",
    "good",
    "and",
    "soup",
    "in",
    "garden",
    "cold",
    "bright",
    "warm",
    "boats",
)


def texts(n):
    draws = np.random.default_rng(0)
    return [" ".join(draws.choice(WORDS, size=draws.integers(2, 30))) for _ in range(n)]


def everything(shards):
    return Rows.joined(list(shards.documents()))


@pytest.fixture(scope="module")
def collected(model, tmp_path_factory):
    """Six shards of 700 texts, never to be changed."""
    folder = tmp_path_factory.mktemp("shards")
    return collect_shards(model, texts(700), folder, HOOK, rows_per_shard=2000, context=64)


def copy_of(shards, folder):
    folder.mkdir()
    for path in sorted(shards.place.glob("*.parquet")):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def bytes_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---------------------------------------------------------------- what is written


def test_rows_are_the_models_residuals_in_bfloat16_in_the_order_of_the_texts(model, collected):
    expected = collect(model, texts(700), HOOK)
    found = everything(collected)
    assert len(collected.infos) > 3
    assert torch.equal(found.token, expected.tokens)
    assert torch.equal(found.document, expected.document)
    assert torch.equal(found.position, expected.position)
    close = torch.isclose(
        found.residual.float(), expected.values[HOOK], rtol=2**-7, atol=1e-4
    )  # bfloat16 has 8 bits
    assert close.all()


def test_the_norm_factor_brings_the_mean_norm_to_the_root_of_d_model(collected):
    x = everything(collected).residual.double()
    assert (x * collected.norm_factor).norm(dim=1).mean() == pytest.approx(32**0.5, rel=1e-9)
    torch.testing.assert_close(collected.mean, x.mean(0).float())


def test_bits_are_stored_as_uint16_in_less_than_two_bytes_a_number(collected):
    path = collected.infos[0].path
    with pq.ParquetFile(path) as file:
        assert file.schema_arrow.field("residual").type.value_type == pa.uint16()
        rows = file.metadata.num_rows
    assert path.stat().st_size < rows * (32 * 2.2 + 16)


def test_a_text_longer_than_the_context_is_read_in_windows(model, tmp_path):
    text = " ".join(["the boats"] * 60)
    shards = collect_shards(model, [text], tmp_path, HOOK, context=16)
    rows = everything(shards)
    assert rows.position.max() == 15
    assert (rows.document == 0).all()
    decoded = model.tokenizer.decode(rows.token.tolist())
    assert decoded.replace(" ", "") == text.replace(" ", "")


def test_a_collection_stops_at_the_rows_asked_for(model, tmp_path):
    shards = collect_shards(model, texts(700), tmp_path, HOOK, tokens=5000, rows_per_shard=3000)
    assert 5000 <= shards.rows < 5000 + 128 * 64


# ---------------------------------------------------------------- interruptions


@pytest.mark.parametrize("damage", ["lost", "cut", "part", "last"])
def test_damaged_or_lost_shards_are_written_again_as_they_were(model, collected, tmp_path, damage):
    folder = copy_of(collected, tmp_path / "copy")
    before = bytes_in(folder)
    victims = sorted(before)
    if damage == "lost":
        (folder / victims[1]).unlink()
        (folder / victims[2]).unlink()
    elif damage == "cut":
        (folder / victims[2]).write_bytes(before[victims[2]][:-2000])
    elif damage == "part":
        (folder / victims[-1]).rename(folder / (victims[-1] + ".part"))
    else:
        (folder / victims[-1]).unlink()
        (folder / victims[-2]).unlink()
    written = []
    collect_shards(
        model, texts(700), folder, HOOK, rows_per_shard=2000, context=64, resume=True,
        report=written.append,
    )  # fmt: skip
    assert bytes_in(folder) == before
    assert len(written) in (1, 2)  # nothing else was read again


def test_a_cut_shard_is_named_and_so_is_the_way_out(collected, tmp_path):
    folder = copy_of(collected, tmp_path / "copy")
    path = sorted(folder.iterdir())[1]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(PipelineError, match=r"shard-00001.parquet is cut short .*--resume"):
        Shards(folder)


def test_a_folder_with_shards_is_not_written_into_unasked(model, collected):
    with pytest.raises(PipelineError, match=r"holds \d shards already: add --resume"):
        collect_shards(model, ["a b"], collected.place, HOOK)


def test_resuming_with_another_hook_point_changes_nothing(model, collected, tmp_path):
    folder = copy_of(collected, tmp_path / "copy")
    before = bytes_in(folder)
    with pytest.raises(PipelineError, match="nothing was changed"):
        collect_shards(model, texts(700), folder, "blocks.0.hook_resid_pre", resume=True)
    assert bytes_in(folder) == before


def test_a_source_that_has_become_shorter_is_noticed(model, collected, tmp_path):
    folder = copy_of(collected, tmp_path / "copy")
    sorted(folder.iterdir())[1].unlink()
    short = text_source(texts(700)[:100])
    named = type(short)("700 texts", short.read)
    with pytest.raises(PipelineError, match="ends before text"):
        collect_shards(model, named, folder, HOOK, rows_per_shard=2000, context=64, resume=True)


def test_a_full_disk_is_one_sentence_and_leaves_what_was_finished(model, tmp_path):
    """The limit on file sizes stands in for the disk: the third shard does not fit under it."""
    folder = tmp_path / "shards"
    pieces = texts(300)
    collect_shards(model, pieces, folder, HOOK, rows_per_shard=1000)
    smallest = sorted(path.stat().st_size for path in folder.iterdir())
    before = bytes_in(folder)
    third = sorted(folder.iterdir())[2]
    third.unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (smallest[0] // 2, hard))
        with pytest.raises(PipelineError, match=r"limit on file sizes.*safe.*--resume"):
            collect_shards(model, pieces, folder, HOOK, rows_per_shard=1000, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert bytes_in(folder) == {n: b for n, b in before.items() if n != third.name}
    collect_shards(model, pieces, folder, HOOK, rows_per_shard=1000, resume=True)
    assert bytes_in(folder) == before


def test_no_space_left_is_called_a_full_disk(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_files.os, "fsync", no_space)
    rows = Rows(torch.ones(3, 4), *(torch.arange(3) for _ in range(3)))
    with pytest.raises(PipelineError, match="the disk is full"):
        write_shard(tmp_path / "x.parquet", Origin("m", "h", 4, "s", 8, 10), rows, (0, 1))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- shards of others


def bits(x):
    return x.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


@pytest.mark.parametrize("layout", ["list", "fixed", "columns", "bytes", "float32"])
def test_every_layout_of_other_makers_reads_as_the_same_residuals(tmp_path, layout):
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(1)) * 3 + 1
    x = x.to(torch.bfloat16).float()
    tables = {
        "list": {"activations": pa.array(list(bits(x)), pa.list_(pa.uint16()))},
        "fixed": {"x": pa.FixedSizeListArray.from_arrays(pa.array(bits(x).reshape(-1)), 6)},
        "columns": {str(i): bits(x)[:, i] for i in range(6)},
        "bytes": {"x": pa.array([row.tobytes() for row in bits(x)], pa.binary())},
        "float32": {"id": list(map(str, range(300))), "x": list(x.numpy())},
    }
    for part in range(2):
        table = pa.table(tables[layout]).slice(150 * part, 150)
        pq.write_table(table, tmp_path / f"rank0_chunk{part}.parquet", row_group_size=40)
    shards = Shards(tmp_path)
    assert (shards.d_model, shards.rows, shards.origin) == (6, 300, None)
    found = torch.cat([p.float() for i in range(8) for p in shards.read_group(i, 16)])
    assert torch.equal(found, x)
    assert shards.norm_factor == pytest.approx(6**0.5 / float(x.norm(dim=1).mean()), rel=1e-5)
    with pytest.raises(PipelineError, match="hold no tokens"):
        next(shards.documents())


def test_a_shard_of_another_model_is_named(collected, tmp_path):
    folder = copy_of(collected, tmp_path / "copy")
    rows = Rows(torch.ones(3, 32), *(torch.arange(3) for _ in range(3)))
    other = Origin("gpt2", HOOK, 32, "s", 8, 10)
    write_shard(folder / "shard-00009.parquet", other, rows, (0, 1))
    with pytest.raises(PipelineError, match=r"shard-00009.*of gpt2 at blocks.1.*another model"):
        Shards(folder)
    wide = Rows(torch.ones(3, 40), *(torch.arange(3) for _ in range(3)))
    write_shard(folder / "shard-00009.parquet", Origin("m", "h", 40, "s", 8, 10), wide, (0, 1))
    with pytest.raises(PipelineError, match=r"shard-00009.*width 40.*another model"):
        Shards(folder)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"text": ["a", "b"]}, "has not a column of residuals; it has text"),
        ({"a": [[1.0], [2.0]], "b": [[1.0], [2.0]]}, "several columns of residuals"),
        ({"x": [[1.0, 2.0], [2.0]]}, "not all of width 2"),
        ({"x": [[1.0, 2.0], None]}, "rows without a residual"),
    ],
)
def test_what_holds_no_residuals_is_said_so(tmp_path, columns, words):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(PipelineError, match=words):
        next(Shards(tmp_path).read_group(0, 10))


def test_an_empty_folder_and_a_text_file_are_no_shards(tmp_path):
    with pytest.raises(PipelineError, match="there are no parquet shards"):
        Shards(tmp_path)
    (tmp_path / "x.parquet").write_text("hello")
    with pytest.raises(PipelineError, match="cut short or no parquet file"):
        Shards(tmp_path)


# ---------------------------------------------------------------- the stream


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Rows that know their number: 997 of them in three files with small row groups."""
    folder = tmp_path_factory.mktemp("numbered")
    x = np.arange(1, 998, dtype=np.float32)[:, None] * np.ones(2, dtype=np.float32)
    for part, rows in enumerate(np.split(x, [400, 777])):
        pq.write_table(pa.table({"x": list(rows)}), folder / f"{part}.parquet", row_group_size=90)
    return Shards(folder)


def numbers(stream, count, start=0):
    batches = stream.batches(start)
    found = [next(batches)[:, 0] for _ in range(count)]
    batches.close()
    return torch.stack(found).long()


@given(
    batch=st.integers(1, 120),
    window=st.integers(1, 1200),
    seed=st.integers(0, 5),
    start=st.integers(0, 30),
)
@settings(max_examples=25, deadline=None)
def test_a_stream_begun_anywhere_goes_on_exactly(numbered, batch, window, seed, start):
    stream = Stream(numbered, batch, seed, window)
    whole = numbers(stream, start + 4)
    assert torch.equal(numbers(stream, 4, start), whole[start:])


@given(batch=st.integers(1, 60), window=st.integers(1, 1200))
@settings(max_examples=10, deadline=None)
def test_two_processes_read_the_halves_of_the_doubled_batch(numbered, batch, window):
    whole = numbers(Stream(numbered, 2 * batch, 3, window), 5)
    halves = [numbers(Stream(numbered, batch, 3, window, i, 2), 5) for i in range(2)]
    assert torch.equal(torch.cat(halves, dim=1), whole)


def test_an_epoch_has_every_row_once_and_the_next_another_order(numbered):
    rows = numbers(Stream(numbered, 1, 0, 300), 2 * 997).flatten()
    first, second = rows[:997], rows[997:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(1, 998))
    assert not torch.equal(first, second)
    assert not torch.equal(first, first.sort().values)


def test_a_stream_holds_two_windows_however_long_it_runs(tmp_path):
    """After one time through the shards, memory no longer grows; see also benchmarks.streaming."""
    x = torch.randn(4096, 256, generator=torch.Generator().manual_seed(0))
    for part in range(8):
        column = pa.FixedSizeListArray.from_arrays(pa.array(bits(x).reshape(-1)), 256)
        pq.write_table(pa.table({"x": column}), tmp_path / f"{part}.parquet", row_group_size=2048)
    del x, column
    batches = Stream(Shards(tmp_path), 1024, 0, window=2048).batches()  # 1 MB a window
    sizes = []
    for _ in range(3 * 32):
        next(batches)
        sizes.append(resident())
    batches.close()
    assert max(sizes[32:]) - max(sizes[:32]) < 12


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


# ---------------------------------------------------------------- texts


def read(path, start=0, **options):
    return [(t.text, dict(t.labels)) for t in text_source(path, **options).read(start)]


def test_text_files_are_cut_at_blank_lines_and_jsonl_at_lines(tmp_path):
    plain = tmp_path / "a.txt"
    plain.write_text("one\ntwo\n\n\n  \nthree\n")
    assert read(plain) == [("one\ntwo", {}), ("three", {})]
    assert read(plain, 1) == [("three", {})]
    rows = [{"body": "x", "topic": "sea", "n": 3}, {"body": ""}, {"body": "y", "topic": None}]
    packed = tmp_path / "b.jsonl.gz"
    with gzip.open(packed, "wt") as file:
        file.write("\n".join(map(json.dumps, rows)) + "\n")
    found = read(packed, text_key="body", labels=["topic"])
    assert found == [("x", {"topic": "sea"}), ("y", {})]
    assert read(tmp_path, 2, text_key="body") == [("x", {}), ("y", {})]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "line 2 is not JSON"),
        (b"[1]", "line 2 is a list"),
        (b'{"body": "x"}', "line 2 has no 'text'; it has body: name the field"),
        (b'{"text": 7}', "'text' is a int"),
        (b'{"text": "x"}', "has no label 'topic'"),
        (b'{"text": "\xff"}', "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(tmp_path, line, words):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "fine", "topic": "t"}\n' + line + b"\n")
    with pytest.raises(PipelineError, match=words):
        read(path, labels=["topic"])


def test_the_embedded_corpus_has_no_end_and_its_labels():
    source = text_source("concepts")
    stream, later = source.read(0), source.read(1005)
    first = [next(stream) for _ in range(1006)]
    assert first[1005] == next(later)
    assert {name for text in first for name in text.labels} == {
        "topic", "sentiment", "civility", "register",
    }  # fmt: skip


def test_data_sets_of_the_hub_are_streamed_from_where_one_stopped(monkeypatch):
    import datasets

    asked = []

    def load(*arguments, **options):
        asked.append((arguments, options))
        rows = [{"text": f"document {i}"} for i in range(5)]
        return datasets.Dataset.from_list(rows).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [text for text, _ in read("fineweb", 3)] == ["document 3", "document 4"]
    assert asked == [
        (("HuggingFaceFW/fineweb", "sample-10BT"), {"split": "train", "streaming": True})
    ]

    def away(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(PipelineError, match=r"cannot be streamed.*--resume"):
        read("hf:somebody/texts")


def test_an_unknown_source_is_explained():
    with pytest.raises(PipelineError, match="no file or folder nowhere"):
        text_source("nowhere")


# ---------------------------------------------------------------- the command


def test_collect_writes_shards_and_says_what_comes_next(checkpoint, tmp_path, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join(texts(40)))
    place = str(tmp_path / "out")
    command = ["collect", str(corpus), place, "--model", str(checkpoint("gpt2")),
               "--device", "cpu", "--hook-name", HOOK]  # fmt: skip
    assert main(command) == 0
    out = capsys.readouterr().out
    shards = Shards(place)
    assert f"{shards.rows:,} residuals of" in out
    assert "steerlab train" in out
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.strip().splitlines()[-1].startswith("steerlab collect: ")
    assert "add --resume" in error
    assert main([*command, "--resume"]) == 0
