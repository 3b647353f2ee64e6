"""Figures have labelled axes, print n and when they were computed, and wait for predictions."""

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
    doses = [-0.5, 0.0, 0.5]
    plots.bos_angle({"one": [1.0, 2.0], "two": [60.0, 50.0]}, given.get("bos"), n="40 sentences")
    yield "bos_angle"
    shares = {"all": [0.5, 1.0], "generated": [0.0, 0.5]}
    plots.changed_tokens(shares, given.get("first"), n="12 openings")
    yield "changed_tokens"
    plots.dose_sweep(
        doses,
        [0.1, None, 0.9],
        [0.4, 0.0, None],
        given.get("sweep"),
        n="32 completions",
        controls={"random": [0.5, 0.5, None]},
    )
    yield "dose_sweep"
    plots.control_histogram({"isotropic": [0.1, -0.1]}, 2.0, xlabel="effect (nats)", n="2 each")
    yield "control_histogram"
    plots.both_ways({"layer 0": (0.2, None)}, None, dose=0.4, n="32", notes={"layer 0": "NLL +1"})
    yield "both_ways"


def captions(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_every_figure_prints_n_and_when_it_was_computed():
    for name in draw_all():
        [figure] = map(plt.figure, plt.get_fignums())
        assert any(text.startswith("n = ") for text in captions(figure)), name
        assert any("computed now" in text for text in captions(figure)), name
        plt.close("all")


def test_every_figure_labels_its_axes():
    for name in draw_all():
        [figure] = map(plt.figure, plt.get_fignums())
        axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
        assert axes[-1].get_xlabel(), name
        if name != "both_ways":  # its rows are named by their ticks
            assert all(ax.get_ylabel() for ax in axes), name
        plt.close("all")


def test_figures_without_data_for_every_point_can_be_drawn(tmp_path):
    for name in draw_all():
        plt.gcf().savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_the_controls_are_laid_beside_the_observed_effect_and_its_mirror_image():
    plots.control_histogram({"isotropic": [0.1, -0.1]}, 2.0, xlabel="effect (nats)", n="2 each")
    [axes] = plt.gcf().axes
    assert sorted(line.get_xdata()[0] for line in axes.lines) == [-2.0, 2.0]


def test_a_shipped_result_says_so():
    plots.bos_angle({"a": [1.0]}, n="3", provenance="shipped, made by `x` on 2026-01-01")
    assert any("shipped" in text for text in captions(plt.gcf()))


def unanswered():
    return {
        "bos": predict("Which angle?", None, key="bos"),
        "first": predict("Which token?", None, key="first", options=["1", "2"]),
        "sweep": predict("Which curve?", None, key="sweep", at=[-0.5, 0.0, 0.5]),
    }


def answered():
    return {
        "bos": predict("Which angle?", 5, key="bos"),
        "first": predict("Which token?", "1", key="first", options=["1", "2"]),
        "sweep": predict("Which curve?", [0, 0.5, 1], key="sweep", at=[-0.5, 0.0, 0.5]),
    }


def test_a_figure_stays_undrawn_until_its_prediction_is_filled(capsys):
    for name in draw_all(**unanswered()):
        drawn = bool(plt.get_fignums())
        assert drawn == (name in ("control_histogram", "both_ways")), name
        plt.close("all")
    said = capsys.readouterr().out
    assert said.count("The figure waits for your prediction") == 3


def test_a_filled_prediction_is_laid_over_the_measurement():
    for name in draw_all(**answered()):
        if name in ("bos_angle", "changed_tokens", "dose_sweep"):
            assert "your prediction" in captions(plt.gcf()), name
        plt.close("all")
