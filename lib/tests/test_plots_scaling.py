"""The figures of assignment 07 have labelled axes, print n and provenance, and wait for predictions."""

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


def point(d_sae, fvu=0.05, l0=16.0):
    return {"d_sae": d_sae, "fvu": fvu, "l0": l0, "cpu_seconds": d_sae / 100}


FIGURES = {
    "resumed_runs": lambda prediction: plots.resumed_runs(
        {"undisturbed": [3.0, 2.0] * 20, "resumed": [2.0] * 20},
        20,
        {"everything": 0.0, "Adam": 0.3},
        prediction,
        n="2 runs",
    ),
    "dead_latents": lambda prediction: plots.dead_latents(
        {"never": [{"step": 0, "dead": 0.5, "fvu": 0.2}] * 2}, n="9 tokens", resampled_at=[5]
    ),
    "scaling_law": lambda prediction: plots.scaling_law(
        [point(256), point(512, 0.04)],
        {"plain": (1.0, 0.5, 0.0), "with offset": (1.0, 0.5, 0.01)},
        point(1024, 0.03),
        {"yours": [point(256, 0.06)]},
        prediction,
        n="9 tokens",
        provenance="shipped",
    ),
    "sparsity_by_size": lambda prediction: plots.sparsity_by_size(
        [point(256, l0=30.0), point(512)],
        [point(256), point(512)],
        prediction,
        n="9 tokens",
        provenance="shipped",
    ),
    "names_of_features": lambda prediction: plots.names_of_features(
        [0.01, 0.2], [0.9, None], {"ocean": (0.01, 0.9)}, n="2 features"
    ),
    "found_feature": lambda prediction: plots.found_feature(
        [0.0, 0.5],
        {"feature": [0.1, 0.9], "random": [0.1, None]},
        {"feature": [0.0, 0.2], "random": [0.0, 0.1]},
        prediction,
        n="9 completions",
        ylabel="on topic",
    ),
}
ASKED = {
    "resumed_runs": ("Adam", {"options": ["everything", "Adam"]}),
    "scaling_law": (0.02, {}),
    "sparsity_by_size": (12, {}),
    "found_feature": ([0.1, 0.5], {"at": [0.0, 0.5]}),
}


def drawn(name, prediction=None):
    FIGURES[name](prediction)
    return [plt.figure(number) for number in plt.get_fignums()]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_labels_its_axes_and_says_n_and_when(name):
    (figure,) = drawn(name)
    assert all(ax.get_xlabel() or ax.get_yticklabels() for ax in figure.axes)
    assert "n = " in figure.get_supxlabel()
    assert figure.get_supxlabel().endswith(("computed now", "shipped"))


@pytest.mark.parametrize("name", ASKED)
def test_a_figure_waits_for_its_prediction(name, capsys):
    options = ASKED[name][1]
    if "options" in options:
        options = {"options": options["options"]}
    assert drawn(name, predict("What?", None, key="it", **options)) == []
    assert "waits for your prediction 'it'" in capsys.readouterr().out


@pytest.mark.parametrize("name", ASKED)
def test_a_figure_shows_the_prediction_beside_the_measurement(name):
    answer, options = ASKED[name]
    (figure,) = drawn(name, predict("What?", answer, key="it", **options))
    texts = [ax.get_title() for ax in figure.axes]
    texts += [line.get_label() for ax in figure.axes for line in ax.get_lines()]
    assert any("you said" in str(text) or "your prediction" in str(text) for text in texts)


def test_a_law_is_drawn_through_the_points_that_lie_on_it():
    law = (2.0, 0.5, 0.01)
    points = [point(n, 0.01 + 2.0 * n**-0.5) for n in (256, 1024)]
    plots.scaling_law(points, {"law": law}, n="9", provenance="shipped")
    line, dots, *_ = plt.gcf().axes[0].get_lines()
    for x, y in zip(*dots.get_data(), strict=True):
        nearest = abs(line.get_xdata() - x).argmin()
        assert line.get_ydata()[nearest] == pytest.approx(y, rel=0.03)
