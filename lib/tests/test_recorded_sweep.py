"""The sweep that ships with the embedded model, and how a sweep becomes such a record."""

from __future__ import annotations

import json

import pytest
from steerlab.evaluation import load_recorded_sweep
from steerlab.evaluation.results import SweepResult, load_sweep
from steerlab.tiny.interference import COMMAND, record


@pytest.fixture(scope="module")
def shipped():
    return load_recorded_sweep("tiny")


def test_a_model_without_a_record_has_none():
    assert load_recorded_sweep("gpt2") is None


def test_the_shipped_record_says_how_it_was_made(shipped):
    assert COMMAND in shipped.made
    assert shipped.n == "80 prompts"


def test_the_shipped_record_has_every_family_at_every_strength(shipped):
    for metric in ("margin", "latex_first", "code_present_and_valid", "latex_present_and_valid"):
        points = shipped.metrics[metric]
        assert [p["alpha"] for p in points] == [-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]
        for point in points:
            families = {"isotropic", "decoder-row", "shuffled-label"} if point["alpha"] else set()
            assert set(point["controls"]) == families


def test_shares_of_the_shipped_record_are_shares_and_its_p_values_ranks(shipped):
    for point in shipped.metrics["latex_first"]:
        assert 0 <= point["value"] <= 1
    for point in shipped.metrics["margin"]:
        for controls in point["controls"].values():
            assert controls["n"] == 99
            assert 0.01 <= controls["p"] <= 1


def test_a_sweep_of_a_folder_becomes_a_record(tmp_path):
    plan = {
        "name": "feature 3",
        "alphas": [0.0, 0.5],
        "coefficient": 20.0,
        "controls": {"isotropic": 1},
        "prompt_kinds": {"a": "code", "b": "math"},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    margins = {("unsteered", 0.0): (1.0, 2.0), ("subject", 0.5): (3.0, 5.0)}
    margins["isotropic/0", 0.5] = (1.0, 2.123456)
    lines = [
        {"measure": "margin", "direction": direction, "alpha": alpha, "prompt": prompt}
        | {"margin": value, "log_odds": value, "kl": 0.0}
        for (direction, alpha), values in margins.items()
        for prompt, value in zip("ab", values, strict=True)
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert isinstance(load_sweep(tmp_path), SweepResult)
    record(tmp_path, tmp_path / "record.json")
    found = json.loads((tmp_path / "record.json").read_text())
    assert (found["name"], found["n_prompts"]) == ("feature 3", 2)
    last = found["metrics"]["margin"][-1]
    assert (last["value"], last["change"]) == (4.0, 2.5)
    assert last["controls"]["isotropic"]["mean"] == 0.06173


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        record(tmp_path, tmp_path / "record.json")
