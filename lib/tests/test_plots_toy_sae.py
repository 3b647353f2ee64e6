"""The figures of assignment 02 have labelled axes, print n and provenance, and wait for predictions."""

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


POINT = {"l0": 20.0, "fvu": 0.08, "loss_recovered": 0.99}
FIGURES = {
    "histograms": lambda prediction: plots.histograms(
        {"absent": [0.0, 0.1], "present": [1.0, 2.0]}, xlabel="reading", title="t", n="4 vectors"
    ),
    "training_curves": lambda prediction: plots.training_curves(
        {"one": [{"step": 1, "loss": 9.0, "l0": 50.0, "fvu": 0.5}] * 2, "two": []}, n="2 tokens"
    ),
    "frontier": lambda prediction: plots.frontier(
        {"ReLU": [POINT, POINT | {"l0": 5.0}]},
        {"yours": POINT | {"loss_recovered": None}},
        n="9 tokens",
        provenance="computed now",
    ),
    "recovered_directions": lambda prediction: plots.recovered_directions(
        {"trained": [0.99, 0.5, None], "untrained": [0.2, 0.1, 0.3]},
        prediction,
        n="3 directions",
        title="t",
        ylabel="cosine",
    ),
    "concept_scores": lambda prediction: plots.concept_scores(
        {"features": {"ocean": 0.95, "music": 0.8}, "PCA": {"ocean": 0.7, "music": 0.6}},
        prediction,
        n="9 texts",
    ),
}
WAITING = ("recovered_directions", "concept_scores")


def texts():
    return [text.get_text() for text in plt.gcf().findobj(matplotlib.text.Text)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_prints_n_and_provenance_and_labels_its_axes(name, tmp_path):
    FIGURES[name](None)
    assert any(text.startswith("n = ") and "computed now" in text for text in texts())
    assert all(ax.get_xlabel() for ax in plt.gcf().axes)
    if name != "concept_scores":  # its rows are named by their ticks
        assert all(ax.get_ylabel() for ax in plt.gcf().axes)
    plt.gcf().savefig(tmp_path / "figure.png")


@pytest.mark.parametrize("name", WAITING)
def test_a_figure_waits_for_its_prediction_and_shows_it(name, capsys):
    FIGURES[name](predict("How many?", None, key="k"))
    assert not plt.get_fignums()
    assert "waits for your prediction" in capsys.readouterr().out
    FIGURES[name](predict("How many?", 3, key="k"))
    assert any("your prediction" in text or "You said 3" in text for text in texts())


def test_the_legend_counts_what_exceeds_the_threshold():
    FIGURES["concept_scores"](None)
    assert "features: 1 of 2" in texts()
    plt.close("all")
    FIGURES["recovered_directions"](None)
    assert "trained: 1 of 3" in texts()


def test_points_without_loss_recovered_stand_in_the_fvu_panel_alone():
    FIGURES["frontier"](None)
    left, right = plt.gcf().axes
    assert len(left.lines) == len(right.lines) + 1
