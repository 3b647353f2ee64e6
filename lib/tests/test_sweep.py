"""A sweep compares like with like, keeps what it measured, and continues where it stopped."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
import torch
from steerlab.data.prompts import Prompt
from steerlab.evaluation import (
    MatchedStep,
    load_sweep,
    math_margin,
    math_tokens,
    plan_sweep,
    run_sweep,
)
from steerlab.evaluation.sweep import planned_cells
from steerlab.sae import ClampFeatures
from steerlab.steering import AddVector, residual_norm, steer
from steerlab.tokens import tokenize
from test_interference import HOOK, random_sae

PROMPTS = [
    *(Prompt(f"code-{i}", "code", "selection", t) for i, t in enumerate(["x = [1]", "import os"])),
    *(Prompt(f"math-{i}", "math", "selection", t) for i, t in enumerate(["$$ 1 $$", "x^{2}"])),
    Prompt("code-9", "code", "evaluation", "y = 3"),
    Prompt("math-9", "math", "evaluation", "$$ 2 + 2"),
    Prompt("mixed-1", "mixed", "evaluation", "code and $$"),
    Prompt("mixed-2", "mixed", "evaluation", "add 1 and 2"),
]
SMALL = {"n_controls": 3, "first_controls": 2, "text_controls": 1, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def plan(load_small):
    return plan_sweep(
        load_small("gpt2"), random_sae(), feature="code", alphas=[-0.5, 1], prompts=PROMPTS, **SMALL
    )


@pytest.fixture(scope="module")
def result(load_small, plan):
    return run_sweep(load_small("gpt2"), plan, progress=False)


def step(plan, direction, alpha):
    resid = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(1))
    return plan.intervention(direction, alpha)(resid) - resid


# ---------------------------------------------------------------- like with like


def test_three_families_are_drawn_and_all_are_as_long_as_the_step_they_are_compared_with(plan):
    assert {f: len(rows) for f, rows in plan.controls.items()} == {
        "isotropic": 3, "decoder-row": 3, "shuffled-label": 3,
    }  # fmt: skip
    for alpha in (-0.5, 1.0):
        for direction in plan.directions:
            lengths = step(plan, direction, alpha).norm(dim=-1)
            assert lengths.numpy() == pytest.approx(abs(alpha) * plan.coefficient, rel=1e-4)


def test_a_feature_of_any_decoder_norm_is_added_at_the_same_length(model, plan):
    long = random_sae()
    long = long.like(W_dec=long.W_dec * 7, W_enc=long.W_enc / 7)
    other = plan_sweep(model, long, feature="code", prompts=PROMPTS, **SMALL)
    assert torch.allclose(other.unit, plan.unit, atol=1e-5)
    assert other.unit.norm() == pytest.approx(1)


def test_a_dose_of_one_is_as_long_as_the_residual(model, plan):
    texts = [p.text for p in PROMPTS if p.split == "evaluation"]
    assert plan.coefficient == pytest.approx(residual_norm(model, HOOK, texts))


def test_a_control_is_the_same_direction_at_every_strength(plan):
    for direction in plan.directions:
        one, other = (
            torch.nn.functional.normalize(step(plan, direction, a), dim=-1) for a in (0.3, 0.9)
        )
        assert torch.allclose(one, other, atol=1e-5)
        assert torch.allclose(
            one, -torch.nn.functional.normalize(step(plan, direction, -2.0), dim=-1), atol=1e-5
        )


def test_controls_are_matched_token_by_token_to_an_intervention_of_any_kind(model):
    clamp = ClampFeatures(random_sae(), {4: 3.0})
    unit = torch.nn.functional.normalize(torch.ones(32), dim=0)
    resid = torch.randn(2, 5, 32)
    own, control = clamp(resid) - resid, MatchedStep(clamp, unit)(resid) - resid
    assert torch.allclose(own.norm(dim=-1), control.norm(dim=-1), atol=1e-4)
    assert torch.allclose(control, own.norm(dim=-1, keepdim=True) * unit, atol=1e-4)


# ---------------------------------------------------------------- choosing and judging


def test_what_chose_a_direction_never_judges_it(model, plan):
    assert plan.selected_on == {p.text for p in PROMPTS if p.split == "selection"}
    assert not plan.selected_on & {p.text for p in plan.prompts}
    with pytest.raises(ValueError, match=r"1 of 4 prompts chose the direction .* \(math-9"):
        plan_sweep(
            model, direction=torch.ones(32), prompts=PROMPTS, selected_on=["$$ 2 + 2"], **SMALL
        )
    with pytest.raises(ValueError, match="cannot judge it too"):
        replace(plan, prompts=tuple(PROMPTS))


def test_the_mean_difference_points_from_mathematics_to_code(model):
    plan = plan_sweep(model, direction="mean-difference", hook_name=HOOK, prompts=PROMPTS, **SMALL)
    from steerlab.directions import mean_difference

    vector = mean_difference(model, ["x = [1]", "import os"], ["$$ 1 $$", "x^{2}"], HOOK)
    assert torch.allclose(plan.unit, vector / vector.norm(), atol=1e-5)
    assert set(plan.controls) == {"isotropic", "shuffled-label"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "name one thing to add"),
        ({"direction": torch.ones(32), "feature": 3}, "name one thing to add"),
        ({"feature": 3}, "a feature belongs to an autoencoder"),
        ({"direction": torch.ones(8)}, r"shape \[8\]; this model's residual stream has \[32\]"),
        ({"direction": torch.zeros(32)}, "zero, NaN or infinite"),
        ({"direction": "code"}, "'mean-difference' or a vector"),
        ({"sae": random_sae(), "feature": "poetry"}, "'code', 'math' or an index, not 'poetry'"),
        ({"sae": random_sae(), "feature": 99}, "feature 99 is out of range"),
        ({"direction": torch.ones(32), "alphas": [1, float("nan")]}, "finite numbers"),
        ({"direction": torch.ones(32), "alphas": [0]}, "at least one other strength"),
        ({"direction": torch.ones(32), "n_controls": 0}, "n_controls is 0"),
        ({"direction": torch.ones(32), "limit": 0}, "limit is 0"),
        ({"direction": torch.ones(32), "max_new_tokens": 64}, "no prompt fits the model's context"),
        ({"direction": torch.ones(32), "positions": "generated"}, "'all' or 'prompt'"),
    ],
)
def test_a_sweep_that_means_nothing_is_refused(model, arguments, said):
    with pytest.raises(ValueError, match=said):
        plan_sweep(model, **{"prompts": PROMPTS, **SMALL, **arguments})


def test_a_limit_keeps_the_first_prompts_of_each_kind(model):
    plan = plan_sweep(model, direction=torch.ones(32), prompts=PROMPTS, limit=1, **SMALL)
    assert [p.id for p in plan.prompts] == ["code-9", "math-9", "mixed-1"]


# ---------------------------------------------------------------- measuring


def test_margins_are_those_of_the_steered_model_at_each_prompts_last_token(model, plan, result):
    tokens = math_tokens(model)
    ids, margins = result.values("margin", "subject", 1.0)
    assert ids == [p.id for p in plan.prompts]
    for prompt, margin in zip(plan.prompts, margins, strict=True):
        batch = tokenize(model, [prompt.text])
        with steer(model, {HOOK: AddVector(plan.unit, plan.coefficient)}), torch.no_grad():
            logits = model(batch.tokens, attention_mask=batch.attention_mask)[0, -1]
        assert margin == pytest.approx(float(math_margin(logits, tokens)[0]), abs=1e-3)


def test_strength_zero_is_the_unsteered_model_for_everyone(result):
    assert result.values("margin") == result.values("margin", "isotropic/2", 0.0)
    assert set(result.values("kl")[1]) == {0.0}
    assert result.change("margin", "isotropic/2", 0.0) == 0


def test_every_aggregate_has_its_interval_and_a_p_for_each_family(result):
    summary = result.summary()
    for kind in ("all", "code", "math", "mixed"):
        for point in summary["metrics"]["margin"][kind]["points"]:
            low, high = point["change_interval"]
            assert low <= point["change"] <= high
            for controls in point["controls"].values():
                assert controls["n"] == 3
                assert 0.25 <= controls["p"] <= 1
    first = summary["metrics"]["latex_first"]["all"]
    assert {c["n"] for c in first["points"][0]["controls"].values()} == {2}
    assert first["points"][0]["n_prompts"] == 2  # completions are written for mixed prompts
    assert summary["metrics"]["margin"]["all"]["slope"]["controls"]["isotropic"]["n"] == 3


def test_at_matched_kl_a_control_is_read_off_its_own_curve(result):
    kl, margin = result.effects("kl"), result.effects("margin")
    [row] = [row for row in result.summary()["matched_kl"] if row["alpha"] == 1.0]
    expected = [
        margin[name][1.0] * row["kl"] / kl[name][1.0]
        for name in result.families()["isotropic"]
        if kl[name][1.0] >= row["kl"]
    ]
    found = row["controls"]["isotropic"]
    assert found["n_reached"] == found["n"] == len(expected)
    if expected:
        assert found["mean"] == pytest.approx(sum(expected) / len(expected))


def test_nothing_stays_on_the_model(model, result):
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


# ---------------------------------------------------------------- files


def test_the_folder_holds_every_prompt_and_the_aggregates(model, plan, result, tmp_path):
    kept = run_sweep(model, plan, tmp_path, progress=False)
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").open()]
    assert len(records) == sum(len(columns["prompt"]) for columns in kept.cells.values())
    texts = [r for r in records if r["measure"] == "text" and r["direction"] == "subject"]
    assert {r["prompt"] for r in texts} == {"mixed-1", "mixed-2"}
    assert all({"text", "code_present", "latex_valid_if_present", "nll"} <= r.keys() for r in texts)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == json.loads(json.dumps(result.summary()))
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    [row] = [
        r for r in rows
        if (r["metric"], r["kind"], r["alpha"], r["family"]) == ("margin", "all", "1.0", "isotropic")
    ]  # fmt: skip
    assert float(row["change"]) == pytest.approx(result.change("margin", "subject", 1.0))
    assert load_sweep(tmp_path).summary() == kept.summary()


class Stopping:
    """An intervention that is interrupted once after some calls, and counts them."""

    def __init__(self, after):
        self.calls, self.after = 0, after

    def __call__(self, alpha):
        def step(resid):
            self.calls += 1
            if self.calls == self.after:
                raise KeyboardInterrupt
            return resid + alpha * torch.ones_like(resid)

        return step


def test_a_killed_sweep_continues_where_it_stopped_and_ends_the_same(model, tmp_path):
    def planned(subject):
        return plan_sweep(
            model, intervention=subject, hook_name=HOOK, alphas=[0.5], prompts=PROMPTS, **SMALL
        )

    whole = Stopping(None)
    expected = run_sweep(model, planned(whole), tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(model, planned(Stopping(whole.calls // 2)), tmp_path / "cut", progress=False)
    file = tmp_path / "cut" / "records.jsonl"
    complete = file.read_text()
    # Killed while a cell was written: some of its lines are there, the last one half.
    cells = planned_cells(planned(whole))
    half = next(c for c in cells if c not in load_sweep(tmp_path / "cut").cells)
    line = json.dumps(half._asdict() | {"prompt": PROMPTS[-1].id})
    file.write_text(complete + line + "\n" + line[: len(line) // 2])

    rest = Stopping(None)
    found = run_sweep(model, planned(rest), tmp_path / "cut", progress=False)
    assert 0 < rest.calls < whole.calls
    assert found.summary() == expected.summary()
    assert sorted(file.read_text().splitlines()) == sorted(
        (tmp_path / "whole" / "records.jsonl").read_text().splitlines()
    )


def test_a_folder_of_another_sweep_is_left_alone(model, plan, tmp_path):
    run_sweep(model, replace(plan, controls={}), tmp_path, progress=False)
    before = (tmp_path / "records.jsonl").read_text()
    with pytest.raises(ValueError, match=r"holds another sweep \(it differs in alphas\)"):
        run_sweep(model, replace(plan, controls={}, alphas=(0.0, 2.0)), tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"it differs in directions"):
        run_sweep(model, replace(plan, controls={}, unit=-plan.unit), tmp_path, progress=False)
    assert (tmp_path / "records.jsonl").read_text() == before


def test_another_models_folder_is_noticed_by_its_margins(model, load_small, plan, tmp_path):
    bare = replace(plan, controls={}, alphas=(0.0, 1.0))
    run_sweep(model, bare, tmp_path, progress=False)
    file = tmp_path / "plan.json"
    other = load_small("olmo2")
    file.write_text(file.read_text().replace(str(model.cfg.model_name), str(other.cfg.model_name)))
    with pytest.raises(ValueError, match="begun with another model"):
        run_sweep(other, bare, tmp_path, progress=False)


def test_a_folder_without_a_sweep_and_a_damaged_one_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        load_sweep(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        load_sweep(tmp_path)
