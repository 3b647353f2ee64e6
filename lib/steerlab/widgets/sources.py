"""Lists to choose from: features of an autoencoder and concepts with a CAV, with search.

A source gives hits for a query, and a `Method` for a hit. What does not fit the model is an error
of the search, in one sentence that says what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

from steerlab.cavs import CAVs
from steerlab.hooks import check_hook_names
from steerlab.sae.clamp import ClampFeatures
from steerlab.sae.labels import FeatureLabel, FeatureLabels
from steerlab.sae.model import SAE
from steerlab.widgets.code import Cell
from steerlab.widgets.methods import ClampMaker, Method, Ruler, clamp_method, vector_method

MOST_HITS = 50

Hit = tuple[str, int | str]  # what the list shows, and what it stands for


class Features:
    """Features of a sparse autoencoder, each clamped to an activation.

    labels: with concepts, strongest tokens and the reference of the clamp; or {feature: text}.
    clamp: a reader's own way to make the intervention, clamp(sae, {feature: α}).
    Raises TypeError for something that is no SAE or no labels.
    """

    kind = "feature"
    placeholder = "a word, a concept or a feature's number"

    def __init__(
        self,
        ruler: Ruler,
        sae: SAE,
        labels: FeatureLabels | Mapping[int, str] | None = None,
        clamp: ClampMaker = ClampFeatures,
    ):
        if not isinstance(sae, SAE):
            raise TypeError(
                f"sae is {type(sae).__name__}; expected a steerlab.sae.SAE (see load_sae)"
            )
        self._ruler, self._sae, self._clamp = ruler, sae, clamp
        self._labels = _as_labels(labels)

    def search(self, query: str) -> list[Hit]:
        """Features whose concept or tokens hold the query, or of that number; best labels first.

        Without a query the best feature of every concept, by name. Raises ValueError where nothing is
        found, or where the autoencoder or its labels do not fit.
        """
        self._check_fits()
        query = query.strip().lower().removeprefix("#")
        if query.removeprefix("-").isdecimal():
            [feature] = self._sae.check_features([int(query)])
            return [self._hit(feature)]
        if not self._labels:
            if query:
                raise ValueError(
                    "these features have no labels to search in: type a number from 0 to "
                    f"{self._sae.d_sae - 1}, or pass labels=load_labels(...) or {{feature: text}}"
                )
            return [self._hit(i) for i in range(min(MOST_HITS, self._sae.d_sae))]
        found = self._matching(query) if query else self._best_of_each_concept()
        if not found:
            near = _closest(query, self._labels.concepts)
            raise ValueError(
                f"no label holds {query!r}: try {near or 'another word'}, or a number from 0 to "
                f"{self._sae.d_sae - 1}"
            )
        return [self._hit(label.feature) for label in found[:MOST_HITS]]

    def method(self, feature: int | str) -> Method:
        """The clamp of a feature."""
        label = self._label(int(feature))
        concept = label.concept if label else None
        return clamp_method(
            f"feature {feature}" + (f" ({concept})" if concept else ""),
            self._sae,
            int(feature),
            label.p999 if label and label.p999 > 0 else None,
            self._ruler,
            clamp=self._clamp,
            concept=concept,
        )

    def _check_fits(self) -> None:
        model, sae = self._ruler.model, self._sae
        if sae.d_in != int(model.cfg.d_model):
            raise ValueError(
                f"this SAE reads residuals of width {sae.d_in} and this model's have "
                f"{model.cfg.d_model}: pass the SAE that was trained on this model "
                f"(this one was on {sae.model_name or 'one without a name'})"
            )
        if sae.hook_name is None:
            raise ValueError(
                "this SAE does not say which hook point it was trained on: pass "
                "sae.like(hook_name='blocks. … .hook_resid_pre')"
            )
        check_hook_names(model, sae.hook_name)
        highest = max(self._labels, default=0)
        if highest >= sae.d_sae:
            raise ValueError(
                f"there is a label for feature {highest} but this SAE has features 0 to "
                f"{sae.d_sae - 1}: pass the labels of this SAE"
            )

    def _label(self, feature: int) -> FeatureLabel | None:
        known = feature in self._labels
        return self._labels[feature] if known else None

    def _hit(self, feature: int) -> Hit:
        label = self._label(feature)
        if label is None:
            return f"{feature}", feature
        parts = [f"{feature}", label.concept or "never active"]
        if label.detection is not None:
            parts.append(f"AUROC {label.detection:.2f}")
        if label.tokens:
            parts.append(", ".join(token.strip() for token in label.tokens[:4]))
        return " · ".join(parts), feature

    def _matching(self, query: str) -> list[FeatureLabel]:
        ranked = [
            (rank, -(label.detection or 0), label.feature, label)
            for label in self._labels.values()
            if (rank := _rank(query, label)) is not None
        ]
        return [label for *_, label in sorted(ranked, key=lambda row: row[:3])]

    def _best_of_each_concept(self) -> list[FeatureLabel]:
        best: dict[str, FeatureLabel] = {}
        for label in self._labels.values():
            if label.concept is not None:
                other = best.setdefault(label.concept, label)
                if (label.detection or 0) > (other.detection or 0):
                    best[label.concept] = label
        return [best[concept] for concept in sorted(best)]


class Concepts:
    """Concept activation vectors, each added to the residual. Raises TypeError for no CAVs."""

    kind = "concept"
    placeholder = "part of a concept's name"

    def __init__(self, ruler: Ruler, cavs: CAVs):
        if not isinstance(cavs, CAVs):
            raise TypeError(
                f"cavs is {type(cavs).__name__}; expected steerlab.cavs.CAVs (see load_cavs)"
            )
        self._ruler, self._cavs = ruler, cavs

    def search(self, query: str) -> list[Hit]:
        """Concepts whose name holds the query. Raises ValueError for none, or CAVs that do not fit."""
        self._cavs.check_fits(self._ruler.model)
        query = query.strip().lower()
        found = [label for label in self._cavs.labels if query in label.lower()]
        if not found:
            raise ValueError(
                f"no concept's name holds {query!r}: try {_closest(query, self._cavs.labels)}"
            )
        return [(label, label) for label in found]

    def method(self, concept: int | str) -> Method:
        """The CAV of a concept, added."""
        label = str(concept)

        def in_code(cell: Cell) -> str:
            held = cell.name_of(self._cavs, "cavs", "the concept activation vectors")
            return f"{held}[{cell.quoted(label)}]"

        hook_name = self._cavs.check_fits(self._ruler.model)
        return vector_method(
            f"CAV of {label}",
            self._cavs[label],
            hook_name,
            self._ruler,
            in_code=in_code,
            concept=label,
        )


def _as_labels(labels: FeatureLabels | Mapping[int, str] | None) -> FeatureLabels:
    """Labels as the search knows them; a plain text has no detection score and no reference."""
    if isinstance(labels, FeatureLabels):
        return labels
    if not isinstance(labels, Mapping | None):
        raise TypeError(
            f"labels is {type(labels).__name__}; expected FeatureLabels (see load_labels) or "
            "{feature: text}"
        )
    rows = []
    for feature, text in (labels or {}).items():
        if not isinstance(feature, int) or not isinstance(text, str):
            raise TypeError(f"labels has {feature!r}: {text!r}; expected {{feature: text}}")
        rows.append(FeatureLabel(feature, text, None, (), float("nan"), 0.0))
    return FeatureLabels(rows)


def _rank(query: str, label: FeatureLabel) -> int | None:
    """How well a label answers a query: 0 best, None not at all."""
    concept = (label.concept or "").lower()
    tokens = [token.strip().lower() for token in label.tokens]
    matches = (
        query in (concept, concept.partition(": ")[2]),
        query in concept,
        query in tokens,
        any(query in token for token in tokens),
    )
    return matches.index(True) if any(matches) else None


def _closest(query: str, names: Iterable[str], n: int = 3) -> str:
    """The names nearest to a query in spelling, as a list in words."""

    def likeness(name: str) -> float:
        return max(
            SequenceMatcher(None, query, each).ratio()
            for each in (name.lower(), name.lower().partition(": ")[2])
        )

    return ", ".join(sorted(names, key=lambda name: -likeness(name))[:n])
