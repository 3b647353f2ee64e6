"""One table for all methods, at one dose, ranked by a judge that no method has seen.

Every vector is scaled to the same ‖Δ‖: a share (the dose) of the residuals' mean norm on the prompts. The
subspace and the probe are what steering was fitted to, or nearly; they are read from the completions
by the unsteered model, and stand beside the judge's score, which is about the text alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.data.contrasts import Contrast
from steerlab.evaluation import Fluency, concept_score, mean_fluency, usable
from steerlab.generation import Completion, generate
from steerlab.hooks import check_unhooked, read_batch
from steerlab.sparse.answers import Infeasible
from steerlab.sparse.methods import Methods, SteeringMethod, SteeringVector
from steerlab.sparse.subspace import ConceptSubspace, Pooling
from steerlab.steering import residual_norm, steer
from steerlab.tokens import Mode, check_texts, pad_left, tokenize

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Judge = Callable[[Sequence[Completion]], float | None]

# ----------------------------------------------------------------------------------------- judges


def word_judge(words_for: Iterable[str], words_against: Iterable[str]) -> Judge:
    """Share of the target's words among those of both classes (`steerlab.evaluation.concept_score`)."""
    wanted, unwanted = tuple(words_for), tuple(words_against)
    return lambda completions: concept_score(completions, wanted, unwanted)


def text_judge(target: Sequence[str], other: Sequence[str]) -> Judge:
    """Mean probability of the target class under a classifier of words, fitted on other texts.

    Logistic regression on TF-IDF of words and pairs of words: it knows nothing of the language model
    or its residuals. Pass texts that no method was fitted on.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = [*check_texts(target, "target"), *check_texts(other, "other")]
    judge = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    judge.fit(texts, [1] * len(target) + [0] * len(other))

    def mean_probability(completions: Sequence[Completion]) -> float | None:
        written = [completion.text for completion in completions if completion.text.strip()]
        return float(judge.predict_proba(written)[:, 1].mean()) if written else None

    return mean_probability


def judge_for(contrast: Contrast) -> Judge:
    """The contrast's own words where it has some, else a classifier of its held-out texts."""
    if contrast.words_for and contrast.words_against:
        return word_judge(contrast.words_for, contrast.words_against)
    return text_judge(contrast.target_held_out, contrast.other_held_out)


# ------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class MethodRow:
    """What one method did to some prompts at one dose.

    dose: mean ‖Δ‖ over the mean residual norm; coefficient: what its vectors were multiplied by, mean.
    l0: features it touches, mean over prompts; None for a dense vector. subspace_score: share of
    thresholds that the completions reach; probe_score: mean probability of the target class under a
    linear probe. kl: mean KL(steered ‖ unsteered) of the next token over the prompts' positions, in
    nats. concept_score: the judge's, by which rows are ranked; by_prompt: the same for each prompt's
    completions alone, which shows how far to trust it. n: completions; infeasible: prompts for which
    the method has no vector, which count nowhere else.
    """

    method: str
    dose: float
    coefficient: float
    l0: float | None
    subspace_score: float | None
    probe_score: float | None
    kl: float | None
    fluency: Fluency | None
    nll_rise: float | None
    usable: bool
    concept_score: float | None
    n: int
    infeasible: int
    example: str
    by_prompt: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Rows of all methods, best concept score first; a method without a score comes last.

    dose: what all were brought to, None where their vectors were added as they came.
    """

    rows: tuple[MethodRow, ...]
    dose: float | None
    n_prompts: int

    def __getitem__(self, method: str) -> MethodRow:
        for row in self.rows:
            if row.method == method:
                return row
        raise ValueError(f"no row {method!r}; there are {', '.join(r.method for r in self.rows)}")

    def records(self) -> list[dict[str, Any]]:
        """One flat dictionary for each row, for a data frame or a CSV file."""
        flat = []
        for row in self.rows:
            apart = ("fluency", "by_prompt")
            record = {key: value for key, value in vars(row).items() if key not in apart}
            cost = row.fluency
            record |= {
                "nll": cost.nll if cost else None,
                "distinct2": cost.distinct2 if cost else None,
                "repeated": cost.repeated if cost else None,
            }
            flat.append(record)
        return flat

    def __str__(self) -> str:
        columns = (
            ("method", "method", "{:<15}"), ("concept_score", "concept", "{:>8.3f}"),
            ("subspace_score", "subspace", "{:>9.3f}"), ("probe_score", "probe", "{:>7.3f}"),
            ("kl", "KL", "{:>7.3f}"), ("nll_rise", "ΔNLL", "{:>7.2f}"),
            ("distinct2", "dist-2", "{:>7.2f}"), ("l0", "L0", "{:>6.1f}"),
            ("dose", "dose", "{:>6.2f}"), ("coefficient", "coeff.", "{:>8.2f}"), ("n", "n", "{:>5}"),
        )  # fmt: skip
        widths = [len(form.format("" if "<" in form else 0)) for _, _, form in columns]
        lines = [
            "".join(
                title.ljust(width) if i == 0 else title.rjust(width)
                for i, ((_, title, _), width) in enumerate(zip(columns, widths, strict=True))
            )
        ]
        for record in self.records():
            cells = [
                "–".rjust(width) if record[key] is None else form.format(record[key])
                for (key, _, form), width in zip(columns, widths, strict=True)
            ]
            lines.append("".join(cells) + ("" if record["usable"] else "  not usable"))
        return "\n".join(lines)


def compare_methods(
    model: TransformerBridge,
    methods: Methods,
    contrast: Contrast,
    dose: float | None,
    *,
    prompts: Sequence[str] | None = None,
    judge: Judge | None = None,
    per_prompt: int = 4,
    max_new_tokens: int = 24,
    temperature: float = 1.0,
    seed: int = 0,
    mode: Mode = "raw",
) -> Comparison:
    """Steer every prompt by every method at one dose, and judge what is written.

    dose: None adds the methods' vectors as they come, for a caller who has brought them to length.
    prompts: the contrast's by default. judge: by default `judge_for(contrast)`. per_prompt:
    completions for each prompt and method, sampled at `temperature`. Everything that is fitted here is
    fitted on texts that no method has seen.

    Raises ValueError for a dose that is not above 0 or no completions, and what `generate` raises.
    """
    if dose is not None and not (math.isfinite(dose) and dose > 0):
        raise ValueError(f"dose is {dose}; expected a finite number above 0")
    if "none" not in methods.by_name:
        raise ValueError('methods lack "none", the unsteered text that all others are set against')
    if per_prompt < 1:
        raise ValueError(f"per_prompt is {per_prompt}; ask for at least one completion")
    prompts = check_texts(contrast.prompts if prompts is None else prompts, "prompts")
    judge = judge_for(contrast) if judge is None else judge
    subspace = methods.subspace
    probe = linear_probe(model, contrast, subspace, mode=mode)
    hidden = subspace.read(model, prompts, mode=mode)
    norm = residual_norm(model, methods.hook_name, prompts, mode=mode)
    size = None if dose is None else dose * norm
    table = [[_scaled(method, h, size) for h in hidden] for method in methods.by_name.values()]
    written: list[list[Completion]] = [[] for _ in table]
    for p, prompt in enumerate(prompts):
        chosen = [m for m, found in enumerate(table) if found[p] is not None]
        deltas = torch.stack([_delta(table[m][p]) for m in chosen])
        completions = _steered(
            model, methods.hook_name, prompt, deltas.repeat_interleave(per_prompt, 0),
            max_new_tokens, temperature, seed + p, mode,
        )  # fmt: skip
        for i, m in enumerate(chosen):
            written[m] += completions[i * per_prompt : (i + 1) * per_prompt]
    plain = mean_fluency(model, written[list(methods.by_name).index("none")])
    rows = [
        _row(
            model, method, found, texts, prompts, plain, judge, subspace, probe, norm, mode,
            methods.hook_name,
        )
        for method, found, texts in zip(methods.by_name, table, written, strict=True)
    ]  # fmt: skip
    rows.sort(
        key=lambda row: -1.0 if row.concept_score is None else row.concept_score, reverse=True
    )
    return Comparison(tuple(rows), dose, len(prompts))


Probe = Callable[[Float[Tensor, "text d_model"]], Float[Tensor, " text"]]


def linear_probe(
    model: TransformerBridge, contrast: Contrast, subspace: ConceptSubspace, *, mode: Mode = "raw"
) -> Probe:
    """Probability of the target class by logistic regression on residuals of held-out texts."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    texts = [*contrast.target_held_out, *contrast.other_held_out]
    residuals = subspace.read(model, texts, mode=mode).numpy()
    labels = [1] * len(contrast.target_held_out) + [0] * len(contrast.other_held_out)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    fitted.fit(residuals, labels)
    return lambda x: torch.from_numpy(fitted.predict_proba(x.numpy())[:, 1]).float()


# ------------------------------------------------------------------------------- method by prompt


@dataclass(frozen=True)
class _Scaled:
    found: SteeringVector
    coefficient: float


def _scaled(
    method: SteeringMethod, h: Float[Tensor, " d_model"], size: float | None
) -> _Scaled | None:
    """The method's vector for a prompt, and what brings it to that length; None without a vector.

    size: None leaves it as long as it is.
    """
    try:
        found = method(h)
    except Infeasible:
        return None
    length = float(found.vector.norm())
    if length == 0:
        return _Scaled(found, 0.0)
    return _Scaled(found, 1.0 if size is None else size / length)


def _delta(scaled: _Scaled | None) -> Float[Tensor, " d_model"]:
    assert scaled is not None
    return scaled.coefficient * scaled.found.vector.float()


def _steered(
    model: TransformerBridge,
    hook_name: str,
    prompt: str,
    deltas: Float[Tensor, "row d_model"],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    mode: Mode,
) -> list[Completion]:
    """One completion of the prompt for each row, all in one batch, steered by that row's vector."""

    def add(resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        return resid + deltas[:, None].to(resid)

    with steer(model, {hook_name: add}):
        return generate(
            model, [prompt] * len(deltas), max_new_tokens=max_new_tokens, temperature=temperature,
            seed=seed, mode=mode, batch_size=len(deltas),
        )  # fmt: skip


@torch.no_grad()
def kl_to_unsteered(
    model: TransformerBridge,
    hook_name: str,
    prompts: Sequence[str],
    deltas: Sequence[Float[Tensor, " d_model"]],
    *,
    mode: Mode = "raw",
) -> float:
    """Mean KL(steered ‖ unsteered) of the next token over the prompts' positions but 0, in nats.

    deltas: what is added at every position of each prompt.
    """
    batch = tokenize(model, prompts, mode=mode)
    added = torch.stack(list(deltas))

    def logprobs() -> Tensor:
        logits = model(batch.tokens, attention_mask=batch.attention_mask, use_cache=False)
        return logits.float().log_softmax(-1)[batch.content]

    plain = logprobs()
    with steer(model, {hook_name: lambda resid: resid + added[:, None].to(resid)}):
        steered = logprobs()
    return float((steered.exp() * (steered - plain)).sum(-1).mean())


@torch.no_grad()
def read_completions(
    model: TransformerBridge,
    completions: Sequence[Completion],
    hook_name: str,
    pooling: Pooling = "mean",
    *,
    batch_size: int = 32,
) -> Float[Tensor, "text d_model"]:
    """Residuals of what was written, after its prompt, as the unsteered model reads it.

    One row for each completion that has a token: the mean over its own tokens, or its last one.
    """
    check_unhooked(model, "what a completion shows")
    some = [c for c in completions if c.tokens]
    read = []
    for start in range(0, len(some), batch_size):
        part = some[start : start + batch_size]
        batch = pad_left(model, [[*c.prompt_tokens, *c.tokens] for c in part])
        resid = read_batch(model, batch, [hook_name])[hook_name].float().cpu()
        for row, completion in zip(resid, part, strict=True):
            own = row[-len(completion.tokens) :]
            read.append(own[-1] if pooling == "last" else own.mean(0))
    return torch.stack(read) if read else torch.zeros(0, int(model.cfg.d_model))


def _row(
    model: TransformerBridge,
    name: str,
    found: Sequence[_Scaled | None],
    texts: list[Completion],
    prompts: Sequence[str],
    plain: Fluency,
    judge: Judge,
    subspace: ConceptSubspace,
    probe: Probe,
    norm: float,
    mode: Mode,
    hook_name: str,
) -> MethodRow:
    here = [(p, scaled) for p, scaled in enumerate(found) if scaled is not None]
    infeasible = len(found) - len(here)
    if not here:
        return MethodRow(
            name, 0.0, 0.0, None, None, None, None, None, None, False, None, 0, infeasible, ""
        )
    deltas = [_delta(scaled) for _, scaled in here]
    each = len(texts) // len(here)
    counts = [len(s.found.features) for _, s in here if s.found.features is not None]
    cost = mean_fluency(model, texts)
    residuals = read_completions(model, texts, hook_name, subspace.pooling)
    subspace_score = probe_score = None
    if len(residuals):
        subspace_score, probe_score = subspace.score(residuals), float(probe(residuals).mean())
    rise = None if cost.nll is None or plain.nll is None else cost.nll - plain.nll
    return MethodRow(
        method=name,
        dose=sum(float(delta.norm()) for delta in deltas) / len(deltas) / norm,
        coefficient=sum(s.coefficient for _, s in here) / len(here),
        l0=sum(counts) / len(counts) if counts else None,
        subspace_score=subspace_score,
        probe_score=probe_score,
        kl=kl_to_unsteered(model, hook_name, [prompts[p] for p, _ in here], deltas, mode=mode),
        fluency=cost,
        nll_rise=rise,
        usable=usable(cost, plain),
        concept_score=judge(texts),
        n=len(texts),
        infeasible=infeasible,
        example=texts[0].text,
        by_prompt=tuple(judge(texts[i : i + each]) for i in range(0, len(texts), each)),
    )
