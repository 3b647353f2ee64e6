"""The figures of 03 have labelled axes, print n and provenance, and wait for predictions."""

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


def draw_all(**given):
    """Every figure once, with a gap in the data where data can have gaps."""
    plots.form_cost([64, 128], [1e-3, 2e-3], [1e-5, 1e-5], given.get("speed"), n="15 calls")
    yield "form_cost"
    plots.feature_quality({"features": [0.9, 1.0], "coordinates": [0.6, 0.5]}, n="40 documents")
    yield "feature_quality"
    plots.clamp_sweep(
        [0.0, 0.5, 1.0],
        {"ocean": [0.1, None, 0.9], "space": [0.0, None, 0.8]},
        [0.0, 0.3, None],
        [1.0, 0.9, 0.5],
        given.get("sweep"),
        n="24 completions",
    )
    yield "clamp_sweep"
    plots.control_rows(
        {"isotropic": [0.1, -0.2], "decoder rows": [0.4, 0.5]},
        2.0,
        given.get("family"),
        xlabel="effect (nats)",
        n="2 each",
    )
    yield "control_rows"
    rows = {"sparse": [(0.2, 0.3, True), (0.8, None, False)], "dense": [(0.2, 0.1, True)]}
    plots.steering_by_sparsity(
        {"dose": rows, "share of the reference": rows}, given.get("kind"), n="24 completions"
    )
    yield "steering_by_sparsity"
    plots.switched_off({"ocean": [0.9, 0.5], "space": [1.0, 0.0]}, ["on", "off"], n="16 each")
    yield "switched_off"


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_every_figure_prints_n_and_when_it_was_computed_and_labels_its_axes(tmp_path):
    for name in draw_all():
        [figure] = map(plt.figure, plt.get_fignums())
        assert any(text.startswith("n = ") and "computed now" in text for text in words(figure))
        assert figure.axes[-1].get_xlabel(), name
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
        plt.close("all")


ASKED = {
    "speed": {"low": 1},
    "sweep": {"at": (0.0, 0.5, 1.0)},
    "family": {"options": ["isotropic", "decoder rows"]},
    "kind": {"options": ["sparse", "dense"]},
}
ANSWERS = {"speed": 50, "sweep": [0.1, 0.5, 0.9], "family": "isotropic", "kind": "dense"}


def test_figures_that_ask_for_a_prediction_wait_for_it(capsys):
    empty = {key: predict("?", None, key=key, **asked) for key, asked in ASKED.items()}
    for name in draw_all(**empty):
        if name not in ("feature_quality", "switched_off"):
            assert not plt.get_fignums(), name
            assert "waits for your prediction" in capsys.readouterr().out
        plt.close("all")


def test_a_prediction_is_laid_beside_the_measurement():
    filled = {key: predict("?", ANSWERS[key], key=key, **asked) for key, asked in ASKED.items()}
    for name in draw_all(**filled):
        if name not in ("feature_quality", "switched_off"):
            assert any("your prediction" in text for text in words(plt.gcf())), name
        plt.close("all")


def test_the_mean_of_the_topics_leaves_missing_ones_out():
    plots.clamp_sweep([0.0, 1.0], {"a": [0.2, None], "b": [0.4, 0.8]}, [0, 0], [1, 1], n="2")
    [bold] = [line for line in plt.gcf().axes[0].lines if line.get_linewidth() == 2]
    assert bold.get_ydata().tolist() == pytest.approx([0.3, 0.8])


def test_a_strength_that_costs_too_much_is_drawn_hollow():
    points = {"sparse": [(0.2, 0.3, True), (0.8, 0.9, False)]}
    plots.steering_by_sparsity({"dose": points}, n="2")
    faces = [
        line.get_markerfacecolor()
        for line in plt.gcf().axes[0].lines
        if line.get_marker() == "o" and len(line.get_xdata()) == 1
    ]
    assert [face == "white" for face in faces] == [False, True]
