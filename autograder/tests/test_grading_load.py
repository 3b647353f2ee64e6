"""What the grading benchmark says of a long batch."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from benchmarks.grading_load import Sample, Watch, last_over_first


@pytest.fixture
def batch(tmp_path):
    """A batch with 60 submissions: one a second at first, one in two seconds in its last third."""
    times = [float(second) for second in range(40)] + [40.0 + 2 * turn for turn in range(20)]
    ledger = tmp_path / "ledger.jsonl"
    stamps = [datetime.fromtimestamp(time, UTC).isoformat() for time in times]
    ledger.write_text("".join(json.dumps({"when": stamp}) + "\n" for stamp in stamps))
    return SimpleNamespace(ledger=ledger), times


def watch(times, loop_s):
    found = Watch()
    found.samples = [Sample(time, 1, 1, loop_s(time)) for time in times]
    return found


def test_a_batch_that_slows_down_on_a_steady_machine_is_slower(batch):
    folder, times = batch
    figures = last_over_first(folder, watch(times, lambda _: 0.01))
    assert figures["throughput_last_over_first"] == pytest.approx(0.5, abs=0.02)
    assert figures["machine_speed_last_over_first"] == 1


def test_a_machine_that_slows_down_is_taken_off(batch):
    folder, times = batch
    figures = last_over_first(folder, watch(times, lambda t: 0.01 if t < 38 else 0.02))
    assert figures["throughput_last_over_first"] == pytest.approx(1, abs=0.04)
    assert figures["machine_speed_last_over_first"] == 0.5
