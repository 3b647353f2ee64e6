"""Rows of the table that need no dictionary: loss, addition, mean difference, the code direction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from steerlab.activations import collect
from steerlab.data import Document, generate, sentences, sentiment_words, token_labels
from steerlab.data.vocabulary import PLAIN_POOLS
from steerlab.directions import mean_difference, random_directions, shuffled_label_directions
from steerlab.evaluation import concept_score, usable
from steerlab.sae import SAE
from steerlab.steering import AddVector, steer
from steerlab.tiny.text import document_losses
from steerlab.tiny.train import VALIDATION_SEED
from steerlab.tokens import tokenize
from torch import Tensor

from benchmarks.embedded_probes import Bench, Row, at_dose, nll_rise, rank_p

DOSES = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)
OPENINGS = ("The {} was", "I think that the {} is", "I had the {} today and it was", "My {} went")
MIXED = (
    "Show the code and the math for {} + {}.\n",
    "Add {} and {} with code and math.\n",
    "Write {} + {} in python and in LaTeX.\n",
)


def loss_row(bench: Bench) -> list[Row]:
    """Held-out loss above the generator's own nats a token, documents one by one."""
    documents = generate(1000 if bench.quick else 5000, VALIDATION_SEED)
    losses, counts = document_losses(bench.hf, bench.tokenizer, documents)
    tokens = int(counts.sum())
    reached, own = float(losses.sum()) / tokens, sum(d.nats for d in documents) / tokens
    note = f"{reached:.4f} against {own:.4f} nats a token, {tokens} tokens"
    return [Row("loss: above the generator's own", reached - own, "<= 0.03", note, fixed=True)]


@torch.no_grad()
def addition_rows(bench: Bench) -> list[Row]:
    """All hundred sums of two digits: greedy answer, and the right token's margin in logits."""
    pairs = [(a, b) for a in range(10) for b in range(10)]
    prompts = torch.tensor(
        [[0, *bench.tokenizer(f"$$ {a} + {b} =")["input_ids"]] for a, b in pairs]
    )
    answers = torch.tensor([bench.tokenizer(f" {a + b}")["input_ids"][0] for a, b in pairs])[
        :, None
    ]
    logits = bench.hf(prompts, attention_mask=torch.ones_like(prompts)).logits[:, -1]
    right = logits.gather(1, answers)[:, 0]
    margin = right - logits.scatter(1, answers, float("-inf")).max(1).values
    share, mean = float((margin > 0).float().mean()), float(margin.mean())
    return [
        Row("addition: right of 100 sums, greedy", share, ">= 0.99", fixed=True),
        Row(
            "addition: mean margin", mean, ">= 3", f"smallest {float(margin.min()):.2f}", fixed=True
        ),
    ]


def mean_difference_rows(bench: Bench, sae: SAE, rates: Float[Tensor, " latent"]) -> list[Row]:
    """Sentiment by one mean difference at the middle layer, and three families of controls.

    Doses are chosen on one half of the items with seed 0, and scored on the other half.
    """
    items = PLAIN_POOLS["item"]
    pilot = [o.format(item) for item in items[::2] for o in OPENINGS]
    prompts = [o.format(item) for item in items[1::2] for o in OPENINGS]
    words = sentiment_words("positive"), sentiment_words("negative")
    positive, negative = (sentences(s, 200, seed=11) for s in ("positive", "negative"))
    vector = mean_difference(bench.model, positive, negative, bench.hook)
    grid = [sign * dose for sign in (-1, 1) for dose in DOSES]
    tried: list[AddVector | None] = [at_dose(bench, vector, pilot, dose) for dose in grid]
    [plain_pilot, *pilots] = bench.side_by_side(
        [None, *tried], pilot, 100, seed=0, max_new_tokens=24
    )
    doses: dict[int, tuple[float, float]] = {-1: (-1.0, -DOSES[0]), 1: (-1.0, DOSES[0])}
    for dose, cell in zip(grid, pilots, strict=True):
        share = concept_score(cell.completions, *words) or 0.0
        rise = nll_rise(cell.fluency, plain_pilot.fluency)
        bench.say(f"mean-diff, choosing: dose {dose:+.2f} share {share:.3f}, NLL {rise:+.3f}")
        sign = 1 if dose > 0 else -1
        toward = share if sign > 0 else 1 - share
        # The weakest dose that does the work, or else the one that does most of it.
        done, best = doses[sign][0] >= 0.96, toward > doses[sign][0]
        if usable(cell.fluency, plain_pilot.fluency) and rise <= 0.25 and best and not done:
            doses[sign] = (toward, dose)
    chosen = [doses[-1][1], doses[1][1]]
    actions = [at_dose(bench, vector, prompts, dose) for dose in chosen]
    plain, *cells = bench.scored([None, *actions], prompts, size=200, max_new_tokens=24)
    base = concept_score(plain.completions, *words) or 0.0
    rows, rises = [], []
    for name, threshold, dose, action, cell in zip(
        ("negative", "positive"), ("<= 0.10", ">= 0.90"), chosen, actions, cells, strict=True
    ):
        rises.append(nll_rise(cell.fluency, plain.fluency))
        note = (
            f"dose {dose:+.2f} (coefficient {action.coefficient:+.2f}), NLL {rises[-1]:+.3f}, "
            f"base {base:.3f}, {len(cell.completions)} completions"
        )
        reached = concept_score(cell.completions, *words)
        rows.append(Row(f"mean-diff: positive share, {name}", reached, threshold, note, fixed=True))
        bench.say(f"mean-diff {name}: share {reached:.3f}, {note}")
    rows.append(Row("mean-diff: larger NLL rise", max(rises), "<= 0.3", fixed=True))
    n, size = 20, 40 if bench.quick else 200
    for family, directions in _families(bench, vector, positive, negative, sae, rates, n).items():
        # Both ways in turn, as strong as the vector itself was used.
        controls = [
            at_dose(bench, direction, prompts, chosen[i % 2])
            for i, direction in enumerate(directions)
        ]
        judged = bench.side_by_side(controls, prompts, size, seed=9, max_new_tokens=24)
        shares = [concept_score(cell.completions, *words) for cell in judged]
        values = torch.tensor([share for share in shares if share is not None])
        off = abs(float(values.mean()) - base)
        note = f"mean {values.mean():.3f}, sd {values.std():.3f} over {len(values)} directions"
        name = f"mean-diff: {family} controls, distance of mean from base"
        rows.append(Row(name, off, "<= 0.1", note, fixed=True))
        bench.say(f"{family}: {note}")
    return rows


def _families(
    bench: Bench,
    vector: Tensor,
    positive: Sequence[str],
    negative: Sequence[str],
    sae: SAE,
    rates: Tensor,
    n: int,
) -> dict[str, Tensor]:
    """Three families of n control directions (science: isotropic, decoder rows, shuffled)."""
    above, below = (
        collect(bench.model, texts, bench.hook).mean_per_document(bench.hook)
        for texts in (positive, negative)
    )
    live = (rates > 1e-3).nonzero().flatten()
    order = torch.randperm(len(live), generator=torch.Generator().manual_seed(3))[:n]
    return {
        "isotropic": random_directions(n, vector, seed=1),
        "shuffled-label": shuffled_label_directions(above, below, n, seed=2),
        "decoder-row": sae.W_dec[live[order]],
    }


@torch.no_grad()
def code_rows(bench: Bench, sae: SAE, rates: Float[Tensor, " latent"]) -> list[Row]:
    """Does "code minus mathematics" push mathematics down where either could follow? Dose 1.

    Math margin: largest logit over math tokens minus the largest over the rest, at the next token.
    """
    documents = generate(1500 if bench.quick else 4000, 555)
    math_tokens = _math_tokens(bench, documents)
    seen = bench.residuals([d for d in documents if d.register in ("code", "math")])
    chosen = [d for d in documents if d.register in ("code", "math")]
    is_code = torch.tensor([d.register == "code" for d in chosen])[seen.document]
    values = seen.values[bench.hook]
    direction = values[is_code].mean(0) - values[~is_code].mean(0)
    prompts = [m.format(a, b) for m in MIXED for a in (2, 5, 8) for b in (1, 3, 6, 9)]
    batch = tokenize(bench.model, prompts)

    def margin(vector: Tensor | None) -> float:
        def read() -> Tensor:
            return bench.model(batch.tokens, attention_mask=batch.attention_mask)[:, -1]

        if vector is None:
            logits = read()
        else:
            with steer(bench.model, {bench.hook: at_dose(bench, vector, prompts, 1.0)}):
                logits = read()
        inside = logits[:, math_tokens].max(1).values
        return float((inside - logits[:, ~math_tokens].max(1).values).mean())

    base = margin(None)
    observed = margin(direction) - base
    n = 99
    means = seen.mean_per_document(bench.hook)
    code_document = torch.tensor([d.register == "code" for d in chosen])
    live = (rates > 1e-4).nonzero().flatten()
    order = torch.randperm(len(live), generator=torch.Generator().manual_seed(5))[:n]
    families: dict[str, Tensor] = {
        "isotropic": random_directions(n, direction, seed=4),
        "shuffled-label": shuffled_label_directions(
            means[code_document], means[~code_document], n, seed=6
        ),
        "decoder-row": sae.W_dec[live[order]],
    }
    features = sae.encode(values)
    gap = (features[is_code] > 0).float().mean(0) - (features[~is_code] > 0).float().mean(0)
    feature = int(gap.argmax())
    by_feature = margin(sae.W_dec[feature]) - base
    rows = []
    for family, directions in families.items():
        effects = [margin(d) - base for d in directions]
        spread = float(torch.tensor(effects).std())
        note = f"effect {observed:+.2f} = {observed / spread:+.1f} sd, base margin {base:+.2f}"
        p = rank_p(observed, effects)
        rows.append(Row(f"code: mean difference, rank p against {family}", p, "<= 0.02", note))
        p, note = rank_p(by_feature, effects), f"effect {by_feature:+.2f}, feature {feature}"
        rows.append(Row(f"code: SAE feature, rank p against {family}", p, "<= 1", note))
        bench.say(f"code, {family}: {rows[-2].note}; feature p {p:.2f} {note}")
    return rows


def _math_tokens(bench: Bench, documents: Sequence[Document]) -> Bool[Tensor, " vocab"]:
    """Tokens of which at least nine in ten occurrences lie in mathematics, and five do."""
    inside, total = (torch.zeros(len(bench.tokenizer)) for _ in range(2))
    for document in documents:
        ids = bench.tokenizer(document.text)["input_ids"]
        labels = token_labels(document, bench.tokenizer, "register")
        for token, label in zip(ids, labels, strict=True):
            total[token] += 1
            inside[token] += label == "math"
    return (inside >= 5) & (inside >= 0.9 * total)
