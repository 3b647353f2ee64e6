"""The explorer's lists: features and concepts are searched, chosen and steered with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from explorer_parts import HOOK, LABELS, N_FEATURES, a_vector, an_sae, some_cavs, steered_text
from steerlab.generation import generate
from steerlab.sae import ClampFeatures
from steerlab.settings import course_settings
from steerlab.steering import AddVector, dose_of, steer
from steerlab.widgets import SteeringExplorer


@pytest.fixture(scope="module")
def sae():
    return an_sae()


@pytest.fixture(scope="module")
def cavs():
    return some_cavs()


@pytest.fixture
def settings(model):
    return replace(course_settings(model), max_new_tokens=6)


@pytest.fixture
def explorer(model, sae, cavs, settings):
    methods = {"mean difference": (a_vector(), HOOK)}
    return SteeringExplorer(model, methods, sae=sae, labels=LABELS, cavs=cavs, settings=settings)


@pytest.fixture
def features(model, sae, settings):
    return SteeringExplorer(model, sae=sae, labels=LABELS, settings=settings)


def found(explorer) -> list[Any]:
    return [value for _, value in explorer.hits.options]


def visible(explorer) -> list[Any]:
    return list(explorer.widget.children)


def test_each_kind_of_method_brings_its_own_widgets(explorer):
    assert list(explorer.source.options) == ["method", "feature", "concept"]
    assert explorer.method in visible(explorer)
    assert explorer.search not in visible(explorer)
    explorer.source.value = "feature"
    assert explorer.method not in visible(explorer)
    assert explorer.hits in visible(explorer)
    assert explorer.search in visible(explorer)


def test_one_kind_alone_needs_no_choice_of_kinds(features, model, cavs):
    assert features.source not in visible(features)
    assert found(features)
    concepts = SteeringExplorer(model, cavs=cavs)
    assert found(concepts) == ["topic: ocean", "topic: music", "sentiment: sad"]


def test_without_a_query_the_best_feature_of_every_concept_is_listed(features):
    assert found(features) == [3, 2, 0]
    shown = features.hits.options[2][0]
    assert shown == "0 · topic: ocean · AUROC 0.97 · wave, sail"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ocean", [0, 1, 3]),  # the concept's own features before a token of that name
        ("topic: ocean", [0, 1]),
        ("OCE", [0, 1, 3]),  # part of a word, in any case
        ("wave", [0, 2]),  # a token as a whole before a part of one
        ("harbour", [1]),
        ("topic", [2, 0, 1]),  # best detection first
        ("7", [7]),  # by number, with a label or without
        ("#2", [2]),
    ],
)
def test_features_are_found_by_concept_token_and_number(features, query, expected):
    features.search.value = query
    assert features.error.value == ""
    assert found(features) == expected
    assert features.hits.value == expected[0]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ozean", "no label holds &#x27;ozean&#x27;: try topic: ocean"),
        ("12", "feature 12 is out of range: this SAE has features 0 to 11"),
        ("-1", "feature -1 is out of range"),
    ],
)
def test_a_search_that_finds_nothing_says_so_and_empties_the_list(features, query, message):
    features.search.value = query
    assert message in features.error.value
    assert found(features) == []
    assert features.coefficient.value == ""
    features.run.click()
    assert message in features.error.value, "pressing the button must not hide the reason"
    assert not features.run.disabled
    features.search.value = "ocean"
    assert features.error.value == ""
    features.run.click()
    assert features.error.value == ""
    assert features.steered.value


def test_a_feature_is_clamped_at_the_dose_of_the_slider(features, model, sae):
    features.search.value = "ocean"
    features.dose.value = 0.6
    shown = features.coefficient.value
    alpha = float(shown.removeprefix("α ").split(" ")[0])
    clamp = {HOOK: ClampFeatures(sae, {0: alpha})}
    assert dose_of(model, clamp, features.settings.prompts) == pytest.approx(0.6, rel=0.03)
    assert shown.endswith(" × its reference 4")
    times = float(shown.split(" = ")[1].split(" ")[0])
    assert times == pytest.approx(alpha / 4.0, rel=0.02)
    features.run.click()
    assert features.error.value == ""
    with steer(model, clamp):
        expected = generate(model, features.settings.prompt, max_new_tokens=6)[0].text
    assert steered_text(features) == expected
    assert "feature 0 (topic: ocean), dose +0.60" in features.steered.value


def test_each_feature_has_its_own_reference(features):
    shown = {}
    for feature in (0, 1):
        features.hits.options = [("", feature)]
        features.hits.value = feature
        shown[feature] = features.coefficient.value
    assert "reference 4" in shown[0]
    assert "reference 2" in shown[1]
    features.search.value = "9"
    assert "reference unknown" in features.coefficient.value


def test_dose_0_of_a_clamp_says_that_it_switches_the_feature_off(features):
    features.dose.value = 0.0
    assert features.coefficient.value == "α 0: the feature is switched off (dose 0.00)"


def test_where_the_feature_is_active_already_the_dose_is_that_of_the_change(model, settings):
    active = an_sae(b_enc=3.0)
    explorer = SteeringExplorer(model, sae=active, settings=settings)
    explorer.dose.value = 0.5
    alpha = float(explorer.coefficient.value.split(" ")[1].rstrip(","))
    clamp = {HOOK: ClampFeatures(active, {0: alpha})}
    assert dose_of(model, clamp, settings.prompts) == pytest.approx(0.5, rel=0.03)
    off = dose_of(model, {HOOK: ClampFeatures(active, {0: 0.0})}, settings.prompts)
    assert off > 0.05, "this test needs a feature that is active on the prompts"
    explorer.dose.value = -0.05
    assert "no coefficient found with dose -0.05" in explorer.error.value
    assert "choose another dose" in explorer.error.value
    explorer.dose.value = -0.7
    assert explorer.error.value == ""


def test_the_readers_own_clamp_is_used(model, sae, settings):
    calls = []

    def mine(given, values):
        calls.append((given, dict(values)))
        return ClampFeatures(given, {5: next(iter(values.values()))})

    explorer = SteeringExplorer(model, sae=sae, labels=LABELS, clamp=mine, settings=settings)
    explorer.search.value = "ocean"
    explorer.run.click()
    given, values = calls[-1]
    assert given is sae
    assert list(values) == [0]
    with steer(model, {HOOK: ClampFeatures(sae, {5: values[0]})}):
        expected = generate(model, settings.prompt, max_new_tokens=6)[0].text
    assert steered_text(explorer) == expected


def test_features_without_labels_are_found_by_number(model, sae, settings):
    explorer = SteeringExplorer(model, sae=sae, settings=settings)
    assert found(explorer) == list(range(N_FEATURES))
    explorer.search.value = "ocean"
    assert "type a number from 0 to 11, or pass labels=" in explorer.error.value
    explorer.search.value = "3"
    assert found(explorer) == [3]


def test_labels_may_be_plain_texts(model, sae, settings):
    explorer = SteeringExplorer(model, sae=sae, labels={7: "boats"}, settings=settings)
    explorer.search.value = "boat"
    assert explorer.hits.options == (("7 · boats", 7),)
    explorer.run.click()
    assert explorer.error.value == ""


def test_an_sae_that_does_not_fit_is_explained_in_the_widget(model, settings):
    cases = {
        "this SAE reads residuals of width 16 and this model&#x27;s have 32: pass the SAE": an_sae(
            d_in=16
        ),
        "does not say which hook point it was trained on: pass sae.like(": an_sae(hook_name=None),
        "this model has no hook point &#x27;blocks.9.hook_resid_pre&#x27;": an_sae(
            hook_name="blocks.9.hook_resid_pre"
        ),
    }
    for message, wrong in cases.items():
        explorer = SteeringExplorer(model, sae=wrong, labels=LABELS, settings=settings)
        assert message in explorer.error.value
        explorer.run.click()
        assert message in explorer.error.value


def test_labels_of_another_sae_are_explained(model, sae, settings):
    explorer = SteeringExplorer(model, sae=sae, labels={40: "boats"}, settings=settings)
    assert "a label for feature 40 but this SAE has features 0 to 11" in explorer.error.value


def test_a_source_that_does_not_fit_leaves_the_others_usable(model, cavs, settings):
    explorer = SteeringExplorer(model, sae=an_sae(d_in=16), cavs=cavs, settings=settings)
    assert "width 16" in explorer.error.value
    explorer.source.value = "concept"
    assert explorer.error.value == ""
    explorer.run.click()
    assert explorer.error.value == ""


def test_a_concept_is_found_and_its_cav_added_at_the_dose(explorer, model, cavs):
    explorer.source.value = "concept"
    explorer.search.value = "SAD"
    assert found(explorer) == ["sentiment: sad"]
    explorer.dose.value = -0.4
    c = float(explorer.coefficient.value.removeprefix("coefficient "))
    push = {HOOK: AddVector(cavs["sentiment: sad"], c)}
    assert dose_of(model, push, explorer.settings.prompts) == pytest.approx(0.4, rel=0.02)
    explorer.run.click()
    with steer(model, push):
        expected = generate(model, explorer.settings.prompt, max_new_tokens=6)[0].text
    assert steered_text(explorer) == expected
    explorer.search.value = "muzic"
    assert (
        "no concept&#x27;s name holds &#x27;muzic&#x27;: try topic: music" in explorer.error.value
    )


def test_cavs_that_do_not_fit_are_explained(model, settings):
    explorer = SteeringExplorer(model, cavs=some_cavs(width=64), settings=settings)
    assert "the CAVs are 64 wide" in explorer.error.value
    explorer = SteeringExplorer(model, cavs=some_cavs(hook_name=None), settings=settings)
    assert "do not say which hook point" in explorer.error.value


def test_going_back_to_a_method_forgets_the_list(explorer):
    explorer.source.value = "feature"
    explorer.search.value = "nothing like it"
    assert explorer.error.value
    explorer.source.value = "method"
    assert explorer.error.value == ""
    assert explorer.coefficient.value.startswith("coefficient ")


def test_a_concept_with_words_is_scored_by_them_against_those_of_the_others(model, sae, settings):
    words = {"ocean": ["sea", "wave"], "music": ["violin"]}
    explorer = SteeringExplorer(model, sae=sae, labels=LABELS, words=words, settings=settings)
    judge = explorer._measures._judge
    assert judge("topic: ocean") == ("concept score (ocean)", ({"sea", "wave"}, {"violin"}))
    explorer.search.value = "ocean"
    explorer.run.click()
    assert "concept score (ocean)" in explorer.measures.value
    explorer.search.value = "sad"
    explorer.run.click()
    assert "concept score" not in explorer.measures.value
    assert "NLL" in explorer.measures.value


def test_arguments_of_a_wrong_kind_are_refused(model, sae):
    with pytest.raises(TypeError, match=r"sae is str; expected a steerlab.sae.SAE"):
        SteeringExplorer(model, sae="tiny")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"labels is list; expected FeatureLabels"):
        SteeringExplorer(model, sae=sae, labels=["boats"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"labels has 'boats': 3; expected \{feature: text\}"):
        SteeringExplorer(model, sae=sae, labels={"boats": 3})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"cavs is dict; expected steerlab.cavs.CAVs"):
        SteeringExplorer(model, cavs={})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"labels name the features of an SAE: pass sae="):
        SteeringExplorer(model, {"v": (a_vector(), HOOK)}, labels=LABELS)
