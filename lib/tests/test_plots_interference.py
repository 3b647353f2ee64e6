"""The figures of interference label their axes, print n, leave gaps, and wait for predictions."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
from steerlab import plots
from steerlab.predict import predict

BANDS = {"low": -1.0, "mean": 0.2, "high": 1.0, "n": 19, "p": 0.05}


@pytest.fixture(autouse=True)
def no_figures_left():
    plt.close("all")
    yield
    plt.close("all")


def points(values, families=("isotropic", "shuffled-label")):
    return [
        {
            "alpha": alpha,
            "value": value,
            "value_interval": [None, None] if value is None else [value - 0.1, value + 0.2],
            "n_prompts": 80,
            "controls": {} if alpha == 0 else dict.fromkeys(families, BANDS),
        }
        for alpha, value in zip((-1.0, 0.0, 1.0), values, strict=True)
    ]


def overlay(prediction=None):
    panels = {
        "margin\n(logits)": points([1.0, 0.0, -3.0]),
        "valid\n(share)": points([1.0, 0.5, None]),
    }
    plots.interference_overlay(
        panels, prediction, n="80 prompts", name="code feature", shares=["valid\n(share)"]
    )


def by_price(prediction=None):
    price = {
        "subject": {-1.0: 0.1, 0.0: 0.0, 1.0: 2.0},
        "isotropic/0": {-1.0: 0.3, 0.0: 0.0, 1.0: None},
    }
    effect = {
        "subject": {-1.0: 1.0, 0.0: 0.0, 1.0: -3.0},
        "isotropic/0": {-1.0: 0.2, 0.0: 0.0, 1.0: 0.1},
    }
    plots.effect_by_price(
        price, effect, {"isotropic": ["isotropic/0"]}, prediction, n="80 prompts", ylabel="change"
    )


FIGURES = {overlay: ["isotropic", "shuffled-label"], by_price: ["inside", "outside"]}


def said(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_prints_n_and_when_it_was_computed_and_labels_its_axes(draw):
    draw()
    [figure] = map(plt.figure, plt.get_fignums())
    assert any("n = 80 prompts · computed now" in text for text in said(figure))
    assert any("dose α" in text or "KL" in text for text in said(figure))
    assert all(ax.get_ylabel() for ax in (figure.axes[0],))


@pytest.mark.parametrize(("draw", "options"), FIGURES.items())
def test_a_figure_waits_for_its_prediction_and_then_shows_it(draw, options, capsys):
    draw(predict("Which?", None, key="which", options=options))
    assert not plt.get_fignums()
    assert "waits for your prediction" in capsys.readouterr().out
    draw(predict("Which?", options[0], key="which", options=options))
    [figure] = map(plt.figure, plt.get_fignums())
    assert any("your prediction" in text for text in said(figure))


def test_a_sketched_curve_is_laid_over_the_margin():
    overlay(predict("Margin?", [1, 0, -1], key="curve", at=[-1, 0, 1]))
    axes = plt.gcf().axes
    assert any(list(line.get_ydata()) == [1, 0, -1] for line in axes[0].lines)


def test_the_band_stands_on_the_unsteered_value_and_is_counted():
    overlay()
    ax = plt.gcf().axes[2]  # second row, first column: the unsteered share is 0.5
    mean = ax.lines[1].get_ydata()
    assert list(mean) == pytest.approx([0.7, 0.5, 0.7])
    assert any("19 controls" in text for text in said(plt.gcf()))
    assert ax.get_ylim() == (-0.03, 1.03)
