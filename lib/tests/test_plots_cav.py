"""The figures of 04_cav label their axes, print n, leave gaps, and wait for predictions."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from steerlab import plots
from steerlab.predict import predict


@pytest.fixture(autouse=True)
def no_figures_left():
    plt.close("all")
    yield
    plt.close("all")


def draw_all(accuracy=None, best=None):
    """Every figure once, with a gap in the data where data can have gaps."""
    maps = {"centred": torch.eye(3), "raw": torch.full((3, 3), 0.5)}
    plots.cosine_maps(maps, ["a", "b", "mean"], n="600 texts")
    yield "cosine_maps"
    shares = {"residual stream": [0.9, None], "shuffled labels": [0.1, 0.08]}
    plots.accuracy_by_layer(shares, accuracy, places=["0", "1"], chance=1 / 12, n="600 texts")
    yield "accuracy_by_layer"
    rates, rises = (
        {"CAV": [0.1, 0.8], "noise": [0.1, None]},
        {"CAV": [0.0, 1.2], "noise": [0.0, 0.5]},
    )
    plots.methods_by_dose([0.2, 0.5], rates, rises, best, n="64", unsteered=0.1, controls=["noise"])
    yield "methods_by_dose"
    plots.tcav_scores(
        {"a": 0.9, "b": 0.2}, {"a": 0.01, "b": 1.0}, [0.1, 0.9, 0.5], n="32 texts", target="words"
    )
    yield "tcav_scores"


def said(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_every_figure_prints_n_and_when_it_was_computed():
    for name in draw_all():
        [figure] = map(plt.figure, plt.get_fignums())
        assert any(text.startswith("n = ") for text in said(figure)), name
        assert any("computed now" in text for text in said(figure)), name
        plt.close("all")


def test_every_figure_says_what_its_axes_are(tmp_path):
    for name in draw_all():
        figure = plt.gcf()
        axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
        if name == "cosine_maps":  # rows and columns are named, the colour bar carries the quantity
            assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["a", "b", "mean"]
            assert any(ax.get_ylabel() == "cosine" for ax in figure.axes)
        else:
            assert axes[-1].get_xlabel(), name
            assert axes[0].get_ylabel(), name
        figure.savefig(tmp_path / f"{name}.png")
        plt.close("all")


def test_the_diagonal_of_a_cosine_map_is_left_blank():
    plots.cosine_maps({"one": torch.eye(4)}, list("abcd"), n="4")
    [image] = plt.gcf().axes[0].images
    assert bool(image.get_array().mask.diagonal().all())


def test_figures_with_a_prediction_wait_for_it(capsys):
    unanswered = {
        "accuracy": predict("How much?", None, key="first", low=0, high=1),
        "best": predict("Which?", None, key="best", options=["CAV", "noise"]),
    }
    drawn = [name for name in draw_all(**unanswered) if plt.get_fignums() and not plt.close("all")]
    assert drawn == ["cosine_maps", "tcav_scores"]
    assert capsys.readouterr().out.count("The figure waits for your prediction") == 2


def test_a_filled_prediction_is_laid_over_the_measurement():
    answered = {
        "accuracy": predict("How much?", 0.5, key="first", low=0, high=1),
        "best": predict("Which?", "CAV", key="best", options=["CAV", "noise"]),
    }
    for name in draw_all(**answered):
        if name == "accuracy_by_layer":
            assert "your prediction" in said(plt.gcf())
        if name == "methods_by_dose":
            assert "CAV (your prediction)" in said(plt.gcf())
        plt.close("all")


def test_only_significant_concepts_are_filled():
    for name in draw_all():
        if name == "tcav_scores":
            dots = [c for c in plt.gcf().axes[1].collections if len(c.get_offsets()) == 1]
            filled = {float(d.get_offsets()[0][0]): tuple(d.get_facecolor()[0]) for d in dots}
            assert filled[0.2] == (1.0, 1.0, 1.0, 1.0)
            assert filled[0.9] != (1.0, 1.0, 1.0, 1.0)
        plt.close("all")
