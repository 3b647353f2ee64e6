"""What the features of a trained autoencoder stand for: contexts, dead ones, labels, in a folder.

Labels are the corpus's own (chosen on half of the documents, judged on the other) or those of a
language model behind an endpoint. Every label is written as soon as it is known: a run that was
interrupted, or lost its endpoint, goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from steerlab.pipeline.endpoint import Endpoint, EndpointError, Garbage, detection, name_feature
from steerlab.pipeline.errors import PipelineError, disk_trouble
from steerlab.pipeline.firings import (
    Firings,
    check_shards_fit,
    concept_areas,
    context_at,
    feature_contexts,
    gather_firings,
)
from steerlab.pipeline.shards import Shards
from steerlab.sae.cards import context_cards
from steerlab.sae.features import Context, FeatureContexts
from steerlab.sae.labels import FeatureLabel, FeatureLabels
from steerlab.sae.model import SAE

LABELS, ASKED, CONTEXTS = "labels.json", "asked.jsonl", "contexts.jsonl"
DEAD, CARDS, WHAT = "dead.json", "cards.html", "find.json"
HOPELESS = 5  # unreadable answers one after the other, from the first on, that end the asking
_SHOWN = 10  # contexts a name is asked for, and of either kind in the detection


@dataclass(frozen=True)
class Found:
    """What `find_features` found. dead: features that fire on none of `n_tokens` tokens.

    contexts: of the features that were asked for; unlabelled: features whose answer could not be
    read, with what was wrong with it.
    """

    folder: Path
    n_tokens: int
    labels: FeatureLabels
    contexts: dict[int, FeatureContexts]
    dead: tuple[int, ...]
    unlabelled: dict[int, str]


def find_features(
    sae: SAE,
    data: Shards | str | os.PathLike[str],
    tokenizer: Any,
    folder: str | os.PathLike[str],
    *,
    endpoint: Endpoint | None = None,
    features: Sequence[int] | None = None,
    limit: int = 100,
    tokens: int = 500_000,
    top: int = 8,
    report: Callable[[str, int, int], Any] | None = None,
) -> Found:
    """Find where features fire and what to call them; write it to `folder`.

    data: shards that `steerlab collect` wrote, of which the first `tokens` rows are read.
    endpoint: who names features; without it they take the labels of the shards' documents, and
    stay without a name where those have none. features: which to name and show contexts of; by
    default the `limit` that are detected best by the corpus's labels, or fire most often.
    top: contexts of each. report is called with (what, done, of how many).

    Written are labels.json (`load_labels` reads it), contexts.jsonl, dead.json and cards.html.
    Called again with the same arguments it asks the endpoint for the missing labels only.

    Raises PipelineError for shards that do not fit, a folder of another autoencoder or other data,
    an endpoint that does not answer (labels until then are kept), and a disk that is full.
    """
    shards = data if isinstance(data, Shards) else Shards(data)
    check_shards_fit(sae, shards)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, sae, shards, tokens)
        wanted = None if features is None else sae.check_features(features)

        def reading(done: int) -> None:
            if report is not None:
                report("reading", min(done, tokens), min(tokens, shards.rows))

        firings = gather_firings(sae, shards, tokens, reading)
        search = _Search(folder, firings, tokenizer, top, report)
        return search.run(shards.labels, endpoint, wanted, limit)
    except OSError as error:
        raise PipelineError(disk_trouble(error, folder)) from error


def _claim(folder: Path, sae: SAE, shards: Shards, tokens: int) -> None:
    """Note which autoencoder and data a folder is of, and refuse one of others."""
    weights = hashlib.sha256()
    for bias in (sae.b_enc, sae.b_dec):
        weights.update(bias.detach().float().cpu().numpy().tobytes())
    what = {"sae": weights.hexdigest(), "shards": shards.fingerprint, "tokens": tokens}
    path = folder / WHAT
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != what:
        raise PipelineError(
            f"{folder} holds features of another autoencoder, other shards or another number of "
            "tokens: choose another folder"
        )
    path.write_text(json.dumps(what), encoding="utf-8")


class _Search:
    """One run over the features of `firings`."""

    def __init__(
        self,
        folder: Path,
        firings: Firings,
        tokenizer: Any,
        top: int,
        report: Callable[[str, int, int], Any] | None,
    ):
        self.folder, self.firings, self.tokenizer = folder, firings, tokenizer
        self.top, self.report = top, report
        self.skip = frozenset(getattr(tokenizer, "all_special_ids", ()) or ())

    def run(
        self,
        labels: dict[int, dict[str, str]],
        endpoint: Endpoint | None,
        wanted: list[int] | None,
        limit: int,
    ) -> Found:
        firings = self.firings
        dead = tuple(int(i) for i in (firings.count == 0).nonzero().flatten())
        (self.folder / DEAD).write_text(
            json.dumps({"n_tokens": len(firings.token), "dead": dead}) + "\n", encoding="utf-8"
        )
        table = self._facts()
        if endpoint is None and labels:
            table = self._by_corpus(table, labels)
        if wanted is None:
            alive = [label for label in table.values() if label.rate > 0]
            alive.sort(key=lambda label: (-(label.detection or 0.0), -label.rate, label.feature))
            wanted = [label.feature for label in alive[:limit]]
        found = {feature: self._contexts(feature) for feature in wanted}
        with open(self.folder / CONTEXTS, "w", encoding="utf-8") as file:
            for each in found.values():
                file.write(json.dumps(asdict(each), ensure_ascii=False) + "\n")
        unlabelled: dict[int, str] = {}
        try:
            if endpoint is not None:
                unlabelled = self._by_endpoint(table, endpoint, wanted)
        finally:
            # Also where the endpoint went away: what is known by then is of use.
            FeatureLabels(table.values()).save(self.folder / LABELS)
            self._cards(found, table)
        return Found(
            self.folder, len(firings.token), FeatureLabels(table.values()), found, dead, unlabelled
        )

    def _facts(self) -> dict[int, FeatureLabel]:
        """Every feature with its tokens, rate and reference, and no name yet."""
        rate, p999 = self.firings.rate.tolist(), self.firings.p999.tolist()
        return {
            feature: FeatureLabel(
                feature,
                None,
                None,
                tuple(self._text(i) for i in self.firings.strongest_tokens(feature)),
                round(rate[feature], 6),
                round(p999[feature], 4),
            )
            for feature in range(self.firings.d_sae)
        }

    def _text(self, token: int) -> str:
        return str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False))

    def _by_corpus(
        self, table: dict[int, FeatureLabel], labels: dict[int, dict[str, str]]
    ) -> dict[int, FeatureLabel]:
        names, areas = concept_areas(self.firings, labels)
        best = areas[:, 0].argmax(0)
        return {
            i: _named(label, names[best[i]], float(areas[best[i], 1, i])) if label.rate else label
            for i, label in table.items()
        }

    def _contexts(self, feature: int) -> FeatureContexts:
        return feature_contexts(self.firings, feature, self.tokenizer, n=self.top, skip=self.skip)

    def _cards(self, found: dict[int, FeatureContexts], table: dict[int, FeatureLabel]) -> None:
        title = "<!doctype html><meta charset='utf-8'><title>Features</title>"
        page = title + context_cards(found.values(), {i: table[i] for i in found})
        (self.folder / CARDS).write_text(page + "\n", encoding="utf-8")

    # ------------------------------------------------------------ an endpoint's labels

    def _by_endpoint(
        self, table: dict[int, FeatureLabel], endpoint: Endpoint, wanted: list[int]
    ) -> dict[int, str]:
        """Name the features that have no name yet; those whose answers were unreadable, and why."""
        known = self._asked_before()
        for feature, (concept, score) in known.items():
            table[feature] = _named(table[feature], concept, score)
        living = [i for i in wanted if table[i].rate > 0]
        unlabelled: dict[int, str] = {}
        good = len([i for i in living if i in known])
        with open(self.folder / ASKED, "a", encoding="utf-8") as file:
            for feature in (i for i in living if i not in known):
                try:
                    concept, score = self._ask(endpoint, feature)
                except Garbage as error:
                    unlabelled[feature] = str(error)
                    if not good and len(unlabelled) >= HOPELESS:
                        raise PipelineError(
                            f"the endpoint {endpoint.url} gave {HOPELESS} unreadable answers in a "
                            f"row and no label (feature {feature}: {error}): is {endpoint.model!r} "
                            "a chat model?"
                        ) from None
                    continue
                except EndpointError as error:
                    raise PipelineError(
                        f"{error}, asked about feature {feature}: {good} of {len(living)} labels "
                        f"are safe in {self.folder}; repeat the command to go on"
                    ) from None
                row = {"feature": feature, "concept": concept, "detection": score}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                table[feature] = _named(table[feature], concept, score)
                good += 1
                if self.report is not None:
                    self.report("labelling", good, len(living))
        return unlabelled

    def _asked_before(self) -> dict[int, tuple[str, float | None]]:
        """Labels of an earlier run. A last line that was cut short is passed over."""
        path = self.folder / ASKED
        known: dict[int, tuple[str, float | None]] = {}
        if not path.exists():
            return known
        text = path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            text = text[: text.rfind("\n") + 1]
            path.write_text(text, encoding="utf-8")
        for line in text.splitlines():
            row = json.loads(line)
            known[int(row["feature"])] = (str(row["concept"]), row["detection"])
        return known

    def _ask(self, endpoint: Endpoint, feature: int) -> tuple[str, float | None]:
        """(a name from half of the documents, its detection score on the other half)."""
        shown = self._half(feature, 0)
        label = name_feature(endpoint, [*shown.top, *shown.quartiles])
        held_out = self._half(feature, 1)
        silent = self._silent(feature)
        firing = [*held_out.top[: _SHOWN // 2], *held_out.quartiles]
        if not firing or not silent:
            return label, None
        return label, round(detection(endpoint, label, firing, silent, seed=feature), 4)

    def _half(self, feature: int, half: int) -> FeatureContexts:
        found = feature_contexts(
            self.firings, feature, self.tokenizer, n=_SHOWN, skip=self.skip,
            documents=lambda document: document % 2 == half,
        )  # fmt: skip
        if found.top or half:
            return found
        return self._contexts(feature)  # it fires in documents of the other half alone

    def _silent(self, feature: int) -> list[Context]:
        """Places of the judging half where the feature and its surroundings are silent."""
        firings = self.firings
        draws = torch.Generator().manual_seed(feature)
        odd = (firings.document % 2 == 1).nonzero().flatten()
        found: list[Context] = []
        for place in odd[torch.randperm(len(odd), generator=draws)[: 20 * _SHOWN]].tolist():
            context = context_at(firings, feature, place, self.tokenizer)
            if not any(context.activations):
                found.append(context)
            if len(found) == _SHOWN:
                break
        return found


def _named(label: FeatureLabel, concept: str, score: float | None) -> FeatureLabel:
    rounded = None if score is None else round(score, 4)
    return FeatureLabel(label.feature, concept, rounded, label.tokens, label.rate, label.p999)
