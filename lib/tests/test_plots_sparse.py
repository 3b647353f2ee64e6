"""The figures of 05 have labelled axes, print n and provenance, and wait for predictions."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
from steerlab import plots
from steerlab.predict import predict


@pytest.fixture(autouse=True)
def no_figures_left():
    plt.close("all")
    yield
    plt.close("all")


ROWS = [
    ("pairs", 0.9, [0.8, 1.0], 0.5, True),
    ("SOCP", 0.8, [0.8, None], None, False),
    ("none", None, [], 0.3, True),
]


def draw_all(**given):
    """Every figure once, with a gap in the data where data can have gaps."""
    plots.component_separations(
        [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [2, 1], given.get("first"), n="9 texts"
    )
    yield "component_separations"
    plots.pareto_front(
        [1.0, 1.5, 2.0], [[128, None, 2], [90, 14, 3]], [[2.0, None, 1.0], [1.8, 1.1, 1.0]],
        given.get("active"), d_model=128, k=5, n="2 prompts",
    )  # fmt: skip
    yield "pareto_front"
    plots.bound_against_penalty([(2.0, 3.0), (1.0, 5.0)], [(1.5, 4.0)], n="1 prompt")
    yield "bound_against_penalty"
    plots.warm_starts({"20 prompts": (0.5, 0.1), "8 values of λ": (0.2, 0.1)}, n="5 runs")
    yield "warm_starts"
    plots.feature_table(
        {3: [1.0, 2.0], 8: [0.0, 1.0]}, {3: "joy"}, ["The film", "The book"], n="2 prompts"
    )
    yield "feature_table"
    curves = {"sentiment": [0.1, None, 0.9], "civility": [0.2, 0.3, 0.4]}
    plots.alpha_sweep(
        [0.0, 1.0, 2.0], curves, curves, curves, given.get("alpha"), doses=[0.0, 0.3, 0.6], n="24"
    )
    yield "alpha_sweep"
    plots.methods_ranked({"sentiment": ROWS, "civility": ROWS[:2]}, given.get("best"), n="24")
    yield "methods_ranked"
    plots.layers_by_concept(
        {"sentiment": [0.1, 0.3, None], "civility": [0.1, 0.2, 0.9]}, [True, True, False],
        ylabel="share", n="40 texts",
    )  # fmt: skip
    yield "layers_by_concept"


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_every_figure_prints_n_and_when_it_was_computed_and_labels_its_axes(tmp_path):
    for name in draw_all():
        [figure] = map(plt.figure, plt.get_fignums())
        assert any(text.startswith("n = ") and "computed now" in text for text in words(figure))
        assert any(ax.get_xlabel() for ax in figure.axes), name
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
        plt.close("all")


ASKED = {
    "first": {"low": 0, "high": 100},
    "active": {"at": (1.0, 1.5, 2.0)},
    "alpha": {"at": (0.0, 1.0, 2.0)},
    "best": {"options": ["pairs", "SOCP", "none"]},
}
ANSWERS = {"first": 50, "active": [10, 9, 8], "alpha": [0.5, 0.6, 0.7], "best": "SOCP"}
WAITING = {"component_separations", "pareto_front", "alpha_sweep", "methods_ranked"}


def test_figures_that_ask_for_a_prediction_wait_for_it(capsys):
    empty = {key: predict("?", None, key=key, **asked) for key, asked in ASKED.items()}
    for name in draw_all(**empty):
        if name in WAITING:
            assert not plt.get_fignums(), name
            assert "waits for your prediction" in capsys.readouterr().out
        plt.close("all")


def test_a_prediction_is_laid_beside_the_measurement():
    filled = {key: predict("?", ANSWERS[key], key=key, **asked) for key, asked in ASKED.items()}
    for name in draw_all(**filled):
        if name in WAITING:
            assert any("your prediction" in text for text in words(plt.gcf())), name
        plt.close("all")


def test_features_active_for_every_prompt_come_first_and_bold_and_the_rest_is_counted():
    amounts = {1: [0.0, 9.0], 2: [1.0, 1.0], 3: [2.0, 2.0]}
    plots.feature_table(amounts, {}, ["a", "b"], most=2, n="2")
    ax = plt.gcf().axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["3", "2"]
    assert {label.get_fontweight() for label in ax.get_yticklabels()} == {"bold"}
    assert "1 more left out" in ax.get_title()


def test_a_method_that_costs_too_much_is_drawn_hollow_and_one_without_a_score_not_at_all():
    plots.methods_ranked({"sentiment": ROWS}, n="24")
    dots = [
        line
        for line in plt.gcf().axes[0].lines
        if line.get_marker() == "o" and len(line.get_xdata()) == 1
    ]
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True]


def test_the_best_layer_is_one_that_may_be_chosen():
    plots.layers_by_concept({"a": [0.1, 0.3, 0.9]}, [True, True, False], ylabel="share", n="9")
    [ring] = [line for line in plt.gcf().axes[0].lines if line.get_markersize() == 13]
    assert list(ring.get_xdata()) == [1]
