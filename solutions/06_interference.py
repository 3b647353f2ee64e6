# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Interference: what else does it do?
#
# You have found a feature for code. You push it, and the model writes more code. Good. But a model is
# one stream of numbers that everything shares, and nobody has asked the rest of it. Does it still do
# mathematics? Is its code still code?
#
# A public experiment asked just that of `Qwen3-4B`: it added a code feature of a sparse autoencoder at
# many strengths, beside a random direction, and reported two findings. *The code feature only slightly
# nudges the math margin; surprisingly, the random direction often had a larger impact. LaTeX formatting
# is highly robust, near 100% at every strength.* In this notebook you build that experiment, with the
# controls that it lacked, and find out what those two sentences do and do not show.
#
# **Afterwards you can**
#
# - measure how far a model leans towards mathematics, with sets of tokens that do not overlap;
# - choose a feature by its mean activity, on prompts that have no say in judging it;
# - sweep a direction over strengths beside three families of controls of the same length;
# - put a p-value and an interval on an effect, and say what was resampled;
# - check code with a parser, and keep "no code" apart from "broken code";
# - tell a robust behaviour from a measurement that cannot move.
#
# **You need** PyTorch; the words residual stream, hook point, dose and feature from notebooks 01 and
# 03 are repeated in a sentence where they come up.
#
# | part | | minutes | points |
# |---|---|---|---|
# | 1 | Two things at once | 10 | – |
# | 2 | How far towards mathematics? | 20 | 2 |
# | 3 | A feature for code | 30 | 3 |
# | 4 | The sweep, with company | 40 | 4 |
# | 5 | How sure are you? | 35 | 3 |
# | 6 | Is its code still code? | 30 | 3 |
# | 7 | A hundred percent of what? | 15 | – |
# | 8 | The whole experiment, on disk | 15 | – |
# | 9 | In your own words | 20 | 5 |
#
# **How to work.** Run the cells from top to bottom. Where a cell says `YOUR CODE HERE`, replace the
# line that raises an error. The cell after the next one is a *check*: it looks at your function and
# tells you what it finds. Checks give no points; the points come from other inputs when your work is
# graded. Some cells ask you to *predict* a result. Their figures do not appear before you have
# committed to an answer. Answering earns no points and being wrong costs none.
#
# **If a function will not come right**, go on and come back later. Every part begins with a way round
# the parts before it: lines that you can un-comment to get the numbers from the library.

# %% tags=["install"]
# install steerlab

# %% [markdown]
# One variable picks the model. `"tiny"` comes with the course and runs on any laptop without a
# network. On a GPU, `"gpt2"` or `"gemma-2-2b-it"` work too. Nothing else in the notebook changes with
# it.

# %%
MODEL = "tiny"  # @param ["tiny", "gpt2", "gemma-2-2b", "gemma-2-2b-it", "qwen3-4b", "olmo-2-7b"] {allow-input: true}

# %%
import ast

import torch
from jaxtyping import Bool, Float, Int
from steerlab import checks, course_settings, load_model, plots
from steerlab.predict import predict
from torch import Tensor

model = load_model(MODEL)  # together with the imports this takes about 15 seconds
settings = course_settings(model)

# %% [markdown]
# ## Part 1 · Two things at once
# *10 minutes*
#
# The prompts of this notebook come in three kinds: pure code, pure mathematics, and **mixed**, which
# ask for both at once. The mixed ones are where one thing can get in the way of the other. They also
# come in two **splits**, written down with them: *selection* prompts may choose a feature,
# *evaluation* prompts judge it, and no prompt is both.

# %% tags=["explore"]
from collections import Counter

from steerlab.data.prompts import interference_prompts
from steerlab.steering import generate

prompts = interference_prompts(settings.prompt_set)
print(Counter((p.kind, p.split) for p in prompts))
for kind in ("code", "math", "mixed"):
    print(f"\n{kind}: {next(p.text for p in prompts if p.kind == kind)!r}")

room = model.cfg.n_ctx - settings.max_new_tokens
judges = [
    p
    for p in prompts
    if p.split == "evaluation" and len(model.tokenizer(p.text)["input_ids"]) < room
]
mixed = [p.text for p in judges if p.kind == "mixed"]
for done in generate(model, mixed[:3], max_new_tokens=settings.max_new_tokens, mode=settings.mode):
    print(f"\n{done.prompt!r} →\n{done.text}")

# %% [markdown]
# In the corpus of the embedded model, the answer to such a prompt begins with the code or with the
# formula, and a coin decides which. Keep that coin in mind: a model that has learned its corpus well
# should think *either* about equally likely.

# %% [markdown]
# ## Part 2 · How far towards mathematics?
# *20 minutes, 2 points*
#
# Reading a completion is slow and says little about *how nearly* it came out otherwise. The next-token
# logits say it at once. Take the set $M$ of tokens that stand for mathematics (`$$`, `\frac`, …) and
# the set $R$ of **all other tokens**. At the last token of a prompt, with logits $z$,
#
# $$\text{margin} = \max_{i \in M} z_i - \max_{i \in R} z_i, \qquad
# \text{log-odds} = \log \sum_{i \in M} e^{z_i} - \log \sum_{i \in R} e^{z_i}.$$
#
# The margin says whether the *single best* next token is mathematics (above 0) and how clearly. It is
# what the source used. The log-odds say how much *probability* there is on each side,
# $\log P(M) - \log P(R)$; a hundred mathematical tokens with a little probability each count there.
#
# Two traps lie in "all other tokens". If a math token is left in $R$, then the margin compares it with
# itself and can never rise above 0. And many models have more rows in their output than their
# tokenizer has tokens, because a round number computes faster. Those rows were never trained; their
# logits mean nothing, and they belong to *neither* set.


# %% nbgrader={"grade": false, "grade_id": "math_margin", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 06_interference/math_margin
def math_margin(
    logits: Float[Tensor, "prompt vocab"],
    is_math: Bool[Tensor, "vocab"],
    is_token: Bool[Tensor, "vocab"],
) -> tuple[Float[Tensor, "prompt"], Float[Tensor, "prompt"]]:
    """(margin, log-odds) of mathematics for each prompt, from the logits at its last token.

    is_math marks the math tokens, is_token the rows of the vocabulary that are tokens at all (math
    tokens are among them); the rest is every token that is not mathematics. margin is the largest logit
    of a math token minus the largest of the rest; log-odds is log P(math) - log P(rest) by logsumexp.
    In float32, whatever the logits are in. logits stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1
    logits = logits.float()
    math, rest = logits[:, is_math], logits[:, ~is_math & is_token]
    margin = math.max(dim=1).values - rest.max(dim=1).values
    return margin, math.logsumexp(dim=1) - rest.logsumexp(dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "math_margin_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 06_interference/math_margin  (hidden tests run here when your work is graded)

# %%
checks.check_math_margin(math_margin)

# %% [markdown]
# <details><summary>Why not subtract two sums of probabilities and take the logarithm?</summary>
#
# `softmax` and then `log` of a sum works until the smaller side has a probability below $10^{-38}$:
# then it is 0 in float32, and its logarithm minus infinity. `logsumexp` takes the largest logit out
# before it exponentiates anything. The normalising constant of the softmax is the same on both sides
# and cancels.
# </details>
#
# ### Which tokens are mathematics?
#
# That depends on the tokenizer: one cuts `\frac` into `\` and `frac`, another has it whole. So no list
# of ids travels from one model to the next, and the *first piece* of some words will not do either
# (the first piece of `\frac` may be a lone backslash). The library goes through all tokens and looks
# at their text: delimiters, LaTeX commands, and signs that stand for nothing else. What code uses
# just as much, digits, `=`, `+`, braces, is *not* among them.

# %% tags=["explore"]
from steerlab.evaluation import math_tokens
from steerlab.tokens import tokenize

token_sets = math_tokens(model)
is_math, is_token = token_sets.math, token_sets.math | token_sets.rest
print(f"{int(is_math.sum())} math tokens of {int(is_token.sum())}, e.g.")
print(list(token_sets.texts.values())[:24])


def last_logits(texts):
    """Logits at the last token of each text."""
    batch = tokenize(model, texts, mode=settings.mode)
    with torch.no_grad():
        return model(batch.tokens, attention_mask=batch.attention_mask)[:, -1].float().cpu()


print("\n        margin                     log-odds (means; smallest to largest margin)")
for kind in ("code", "math", "mixed"):
    margin, odds = math_margin(
        last_logits([p.text for p in judges if p.kind == kind]), is_math, is_token
    )
    print(
        f"{kind:6}  {margin.mean():+6.2f} ({margin.min():+.2f} to {margin.max():+.2f})   {odds.mean():+6.2f}"
    )

# %% [markdown]
# Look at the mixed prompts. Log-odds of nearly 0 are probabilities of nearly one half each: the model
# has learned the coin. And its *margin* is nearly 0 too, for **every** such prompt, and on the same
# side of 0. Remember this when we come to Part 7.

# %% [markdown]
# ## Part 3 · A feature for code
# *30 minutes, 3 points*
#
# The **residual stream** holds one vector for each token, which every block of the model reads and adds
# to; a **hook point** is a named place where we may look at it or change it. A sparse autoencoder (SAE)
# writes that vector as a sum of a few of its many *features*, each with an **activity** of zero or
# more (notebooks 02 and 03). Which feature is the one for code?
# The source's answer, and a good first one: the one whose **mean activity** differs most between
# prompts of code and prompts of mathematics. The $k$ largest differences are the candidates for code,
# the $k$ smallest those for mathematics.
#
# Two things decide whether that is fair.
#
# - **A prompt counts once.** Average over a prompt's tokens first, then over prompts. Otherwise one
#   long prompt outvotes ten short ones, and the feature that wins is about that prompt.
# - **Only the selection prompts choose.** Among a thousand features there is always one that separates
#   the prompts at hand by luck. Its luck does not repeat on other prompts; but it will be there again,
#   fresh as ever, if you judge it on the same ones.


# %% nbgrader={"grade": false, "grade_id": "candidate_features", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 06_interference/candidate_features
def candidate_features(
    activity: Float[Tensor, "token feature"],
    prompt: Int[Tensor, "token"],
    is_code: Bool[Tensor, "prompt"],
    chooses: Bool[Tensor, "prompt"],
    k: int,
) -> tuple[Int[Tensor, "k"], Int[Tensor, "k"]]:
    """The k features most active on code and the k most active on mathematics, best first.

    prompt[t] is the prompt that token t belongs to, and each has at least one. Every prompt is code
    (is_code True) or mathematics. The activity of a prompt is the mean over its tokens; a feature's
    difference is its mean over the code prompts minus its mean over the mathematics prompts, of those
    where chooses is True and no others. Returns the indices of the k largest differences and of the k
    smallest.
    """
    ### BEGIN SOLUTION
    # canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1
    means = torch.stack([activity[prompt == i].mean(dim=0) for i in range(len(is_code))])
    means, code = means[chooses], is_code[chooses]
    gap = means[code].mean(dim=0) - means[~code].mean(dim=0)
    return gap.topk(k).indices, (-gap).topk(k).indices
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "candidate_features_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 06_interference/candidate_features  (hidden tests run here when your work is graded)

# %%
checks.check_candidate_features(candidate_features)

# %% [markdown]
# <details><summary>How do I average over the tokens of each prompt?</summary>
#
# A loop over prompts is fine: a mask picks out the rows of one prompt's tokens, and there are no more
# than a few hundred prompts. Without a loop, `sums.index_add_(0, owner, rows)` adds each row to the row
# of `sums` that `owner` names for it, and `torch.bincount` counts how often each one was named.
# </details>

# %% tags=["explore"]
from steerlab.activations import collect
from steerlab.sae import Recipe, load_sae, train_sae
from steerlab.sae.features import document_scores

pure = [p for p in prompts if p.kind != "mixed"]
if settings.sae is not None:
    sae = load_sae(settings.sae, model)
    hook_name = sae.hook_name
else:  # no autoencoder is known for this model: a small one is trained on the spot
    hook_name = settings.hook_name
    rows = collect(model, [p.text for p in prompts], hook_name, mode=settings.mode).values[
        hook_name
    ]
    sae = train_sae(
        rows, Recipe("topk", d_sae=4 * model.cfg.d_model, steps=150), hook_name=hook_name
    ).sae

seen = collect(model, [p.text for p in pure], hook_name, mode=settings.mode)
activity = sae.encode(seen.values[hook_name].to(sae.W_enc.device)).cpu()
is_code = torch.tensor([p.kind == "code" for p in pure])
chooses = torch.tensor([p.split == "selection" for p in pure])
for_code, for_math = candidate_features(activity, seen.document, is_code, chooses, 5)
by_prompt = document_scores(seen, hook_name, lambda x: sae.encode(x.to(sae.W_enc.device)))


def difference(feature, some):
    """Mean activity on code minus mathematics, over some of the prompts."""
    own = by_prompt[:, feature]
    return float(own[is_code & some].mean() - own[~is_code & some].mean())


print("feature   where it was chosen   on the other prompts")
for name, features in (("code", for_code), ("math", for_math)):
    for feature in features.tolist():
        print(
            f"{name} {feature:5}  {difference(feature, chooses):+10.2f}  {difference(feature, ~chooses):+20.2f}"
        )
feature = int(for_code[0])


def where(feature, n=6):
    """The tokens that hold most of a feature's activity on these prompts, with their shares of it."""
    total = Counter()
    for token, value in zip(seen.tokens.tolist(), activity[:, feature].tolist(), strict=True):
        total[model.tokenizer.decode([token])] += value
    whole = max(sum(total.values()), 1e-9)
    return [(t, round(v / whole, 2)) for t, v in total.most_common(n) if v / whole > 0.01]


print("\nwhere the first three for code are active (token, share of the activity)")
for candidate in for_code[:3].tolist():
    print(f"{candidate:5}  {where(candidate)}")

# %% [markdown]
# They hold up on the other prompts: nothing here was luck. But look at *where* the first one is active:
# on `)`, on `[]`, on `None`, on the `python` behind a fence. Those are the tokens that **end a line**.
# The next two are active on line breaks and on colons. None of them is "code"; each is something that
# is frequent in code. A difference of activities finds what goes along with code. It cannot know what
# a push would bring about. Keep a guess; Part 6 will tell.

# %% [markdown]
# ### Debug the source: 4,096 features from 112 prompts
#
# The source cached the activations of 112 prompts and trained an SAE with 4,096 features on them. A
# prompt has perhaps twenty tokens. **Before you run the cell below**: how many tokens is that for each
# feature? And what will such an SAE have learned? We do the same here, on the selection prompts, and
# look at prompts that it has not seen. FVU is the share of variance that is *not* explained.

# %% tags=["explore"]
from steerlab.sae import evaluate_sae

stream = seen.values[hook_name]
own, other = (
    stream[torch.isin(seen.document, some.nonzero().flatten())] for some in (chooses, ~chooses)
)
small = train_sae(own, Recipe("topk", d_sae=8 * model.cfg.d_model, steps=200, batch_size=256)).sae
print(f"{len(own)} tokens for {small.d_sae} features: {len(own) / small.d_sae:.1f} tokens each")
for name, rows in (("prompts it was trained on", own), ("other prompts", other)):
    for which, some_sae in (("source's way", small), ("this notebook's", sae)):
        found = evaluate_sae(some_sae.cpu(), rows)
        print(f"{name:26} {which:16} FVU {found.fvu:.3f}, silent features {found.dead:.0%}")

# %% [markdown]
# Fewer tokens than features: the small SAE can all but assign each token a feature of its own. On the prompts
# it was trained on it looks like the better one (FVU 0.022 against 0.037); on others its error doubles,
# to 0.047, while the other SAE's stays where it was. A feature of such an SAE may be the feature of one
# prompt. With 4,096 features and 112 prompts the source is in the same place. (More than half of this
# notebook's SAE is silent here. It was trained on the whole corpus, and these prompts have no
# oceans or cities in them.)
#
# The second defect is one line of the source's README, given there as the remedy for another error:
# `W = sd.get("W_dec") or sd.get("decoder.weight")`. Read it aloud, *the first, or else the second*, and
# it sounds right. **Before you run the cell**: with which of these two checkpoints does it work?

# %% tags=["explore"]
for checkpoint in ({"decoder.weight": small.W_dec}, {"W_dec": small.W_dec}):
    print("a checkpoint with", *checkpoint)
    try:
        print("  found", list((checkpoint.get("W_dec") or checkpoint.get("decoder.weight")).shape))
    except RuntimeError as error:
        print("  RuntimeError:", error)

# %% [markdown]
# `or` asks whether its left side counts as true, and a tensor of many numbers refuses to answer. Where
# the first name is missing the left side is `None`, and all is well; so the line fails exactly when
# what it wants **is** there. Ask for the name, not for the tensor:
# `W = sd["W_dec"] if "W_dec" in sd else sd["decoder.weight"]`.

# %% [markdown]
# ## Part 4 · The sweep, with company
# *40 minutes, 4 points*
#
# Now push. At strength $\alpha$ we add $\alpha L u$ to the stream of every token but position 0, where
# $u$ is the feature's decoder row at length 1 and $L$ the mean length of the stream there: $\alpha$ is
# a **dose**. The source added $\alpha v$ with the decoder row $v$ *as it was*, beside a random vector
# *of length 1*. If the row is three times as long, then the feature has been given three times the
# dose of its control, and every comparison is off by that. Both sides must have the same length.
#
# One random direction is an anecdote: the source has one. And a stream is not a ball of noise in which
# all directions are alike; most random directions point where the stream hardly ever goes. So we ask
# three families for company, each a little closer to the feature than the one before:
#
# - **isotropic**: anything at all;
# - **decoder rows** of *other* features that fire about as often;
# - **shuffled labels**: mean differences between two halves of the same prompts, dealt out at random.
#
# And one rule: the controls are **drawn once**. If every strength gets fresh ones, then no curve over
# strengths belongs to any direction, and the noise of the draw is added to every point.


# %% nbgrader={"grade": false, "grade_id": "sweep", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 06_interference/sweep
def sweep(measure, direction, draw, n, alphas, stream_norm):
    """Effects of one direction, and of n controls of the same length, at every strength.

    measure(vector [d_model]) is a number that the model gives when the vector is added to its stream;
    direction [d_model] may have any length but 0; draw(m) returns m control directions [m, d_model] of
    any lengths, others at every call. What is added at strength alpha is as long as |alpha| *
    stream_norm, for direction and controls alike, and points backwards for a negative alpha.

    Returns (observed [alpha], controls [n, alpha]): the measured numbers minus the one where nothing
    (a vector of zeros) is added.
    """
    ### BEGIN SOLUTION
    # canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1
    added = torch.cat([direction[None], draw(n)])
    added = added / added.norm(dim=1, keepdim=True) * stream_norm
    base = measure(torch.zeros_like(direction))
    effects = torch.tensor([[measure(alpha * v) - base for alpha in alphas] for v in added])
    return effects[0], effects[1:]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "sweep_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 06_interference/sweep  (hidden tests run here when your work is graded)

# %%
checks.check_sweep(sweep)

# %% [markdown]
# <details><summary>Where do I call draw?</summary>
#
# Once, before any loop. Whatever is drawn then is used at all strengths.
# </details>
#
# ### Predict: who comes closest?
#
# We push the code feature and measure the mean margin of the evaluation prompts. Each family's band
# holds nine in ten of its controls. Which family has the directions whose effects are the *largest*
# (the widest band at the largest dose)?

# %% tags=["predict"]
answer = "isotropic"  # "isotropic", "decoder-row" or "shuffled-label"
widest = predict(
    "At the largest dose, the widest band of control effects is that of the … controls",
    answer,
    key="widest",
    options=["isotropic", "decoder-row", "shuffled-label"],
)

# %% tags=["explore"]
# Part 2 or 3 not finished yet? Take the `#` away from these lines and go on; come back later.
# from steerlab.evaluation import feature_candidates, math_margin as library_margin
# math_margin = lambda logits, is_math, is_token: library_margin(logits, token_sets)
# choosing = [[p.text for p in pure if p.kind == k and p.split == "selection"] for k in ("code", "math")]
# feature = feature_candidates(model, sae, *choosing, mode=settings.mode).code[0].feature

from steerlab.directions import random_directions, shuffled_label_directions
from steerlab.evaluation import decoder_rows_like
from steerlab.steering import AddVector, residual_norm, steer

# A few prompts of each kind: one forward pass for each direction and strength.
asking = [p for k in ("code", "math", "mixed") for p in [q for q in judges if q.kind == k][:6]]
asked = [p.text for p in asking]
asked_batch = tokenize(model, asked, mode=settings.mode)
stream_norm = residual_norm(model, hook_name, asked, mode=settings.mode)
row = sae.W_dec[feature].detach().float().cpu()
means = seen.mean_per_document(hook_name)
rates = (activity > 0).float().mean(dim=0)
families = {
    "isotropic": lambda n: random_directions(n, row, seed=1),
    "decoder-row": lambda n: decoder_rows_like(sae, rates, n, 2, feature=feature)[0],
    "shuffled-label": lambda n: shuffled_label_directions(
        means[is_code & chooses], means[~is_code & chooses], n, seed=3
    ),
}
alphas = [-1.0, -0.5, 0.0, 0.5, 1.0]


def margins_with(vector):
    """Margin of each asked prompt with a vector added to the stream."""
    with torch.no_grad(), steer(model, {hook_name: AddVector(vector)}):
        logits = model(asked_batch.tokens, attention_mask=asked_batch.attention_mask)[:, -1]
    return math_margin(logits.float().cpu(), is_math, is_token)[0]


def mean_margin(vector):
    return float(margins_with(vector).mean())


print(
    f"feature {feature}: decoder row of length {row.norm():.2f}, stream of length {stream_norm:.1f}"
)
n_controls = 19
control_effects = {}
for name, draw in families.items():
    observed, control_effects[name] = sweep(mean_margin, row, draw, n_controls, alphas, stream_norm)
base = mean_margin(torch.zeros_like(row))


def band(effects, i):
    low, high = (float(effects[:, i].quantile(q)) for q in (0.05, 0.95))
    return {"low": low, "mean": float(effects[:, i].mean()), "high": high, "n": len(effects)}


points = [
    {
        "alpha": alpha,
        "value": base + float(observed[i]),
        "value_interval": [base + float(observed[i])] * 2,
        "n_prompts": len(asked),
        "controls": {name: band(effects, i) for name, effects in control_effects.items()},
    }
    for i, alpha in enumerate(alphas)
]
plots.interference_overlay(
    {"math margin\n(logits)": points},
    widest,
    name=f"feature {feature}",
    n=f"{len(asked)} prompts, {n_controls} controls a family",
)
if widest.filled:
    widths = {
        name: float(e[:, -1].quantile(0.95) - e[:, -1].quantile(0.05))
        for name, e in control_effects.items()
    }
    print(widest.beside(max(widths, key=lambda name: widths[name])))
    print("change of the margin by the feature:", [round(float(x), 2) for x in observed])

# %% [markdown]
# Two things at once. Between doses −0.5 and 0.5 the feature hardly moves the margin, by 0.06 logits at
# most, and nearly every control of every family does more. At dose 1 it moves it by −5.5, further down
# than all 57 controls. Both are true of the *same* feature; a study that had stopped at 0.5 would have
# reported the first, a study at 1 alone the second. And compare the bands from panel to panel. Decoder
# rows and shuffled labels lie in directions that the model uses, and a push along those does more than a
# push into nowhere. Beating the isotropic family alone would have been easier.

# %% [markdown]
# ### Play
#
# The feature beside one control of each family, at the same doses. Can you tell from the texts which
# is which?

# %% tags=["explore"]
from dataclasses import replace

from steerlab.widgets import SteeringExplorer


def pushed(vector):
    """What the explorer asks for: a function of the strength that gives {hook point: intervention}."""
    unit = vector / vector.norm()
    return lambda strength: {hook_name: AddVector(unit, strength * stream_norm)}


choices = {f"code feature {feature}": pushed(row)}
choices |= {f"one {name} control": pushed(draw(1)[0]) for name, draw in families.items()}
SteeringExplorer(
    model, choices, settings=replace(settings, prompts=tuple(mixed[:4]), doses=tuple(alphas))
)

# %% [markdown]
# The margin itself, at a dose that the sweep left out (a form on Colab; elsewhere change the values and
# run the cell again). Another control is another draw: how far apart are two of the same family?

# %% tags=["explore"]
# @title One dose, one family, a few draws
my_dose = 0.75  # @param {type: "slider", min: -1, max: 1, step: 0.05}
my_family = "isotropic"  # @param ["isotropic", "decoder-row", "shuffled-label"]
my_draws = 3  # @param {type: "slider", min: 1, max: 10, step: 1}

my_vectors = {f"feature {feature}": row}
my_vectors |= {f"{my_family} {i + 1}": v for i, v in enumerate(families[my_family](my_draws))}
for name, my_vector in my_vectors.items():
    moved = mean_margin(my_dose * stream_norm * my_vector / my_vector.norm()) - base
    print(f"{name:20} dose {my_dose:+.2f}: margin {moved:+.2f}")

# %% [markdown]
# ## Part 5 · How sure are you?
# *35 minutes, 3 points*
#
# An effect comes with two questions. *Would any direction do this?* And: *would other prompts show it?*
#
# ### Among its peers: the rank p-value
#
# The first is answered by counting. If the feature were nothing but one more direction of the family,
# every rank among them would be equally likely. So the p-value is the share of directions, the feature
# included, whose effect is at least as large, **in either direction**, since you would have been just
# as excited by a rise:
#
# $$p = \frac{1 + \#\{\, j : |c_j| \ge |o| \,\}}{1 + n}.$$


# %% nbgrader={"grade": false, "grade_id": "rank_p", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 06_interference/rank_p
def rank_p(observed: float, controls: Float[Tensor, "control"]) -> float:
    """Two-sided rank p-value of an effect among the effects of controls.

    Controls exactly as large as the effect count as reaching it; the effect itself counts as one of
    1 + n. Raises ValueError where there are no controls.
    """
    ### BEGIN SOLUTION
    # canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1
    if len(controls) == 0:
        raise ValueError("no controls to rank the effect among")
    reached = int((controls.abs() >= abs(observed)).sum())
    return (1 + reached) / (1 + len(controls))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "rank_p_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 06_interference/rank_p  (hidden tests run here when your work is graded)

# %%
checks.check_rank_p(rank_p)

# %% [markdown]
# ### Among other prompts: the bootstrap
#
# You have measured on some prompts, and mean to say something about prompts like these. How much would
# the mean have come out differently with other ones? Pretend that your prompts *are* all prompts, and
# draw as many from them as you have, with replacement: some come twice, some not at all. Take the mean.
# Do that a thousand times. The middle 95% of those means is the **bootstrap interval** (Efron 1979).
#
# What is drawn has to be what was drawn in the first place. You chose *prompts*. If a prompt gives
# fifty numbers, one for each of its tokens or samples, those fifty agree with each other far more than
# with another prompt's; drawing single numbers pretends that you had asked fifty times as many
# prompts, and the interval comes out far too narrow. So: one mean for each prompt, then draw prompts.


# %% nbgrader={"grade": false, "grade_id": "bootstrap_interval", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 06_interference/bootstrap_interval
def bootstrap_interval(
    values: Float[Tensor, "row"],
    prompt: Int[Tensor, "row"],
    level: float,
    n_resamples: int,
    seed: int,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over prompts.

    prompt[i] is the prompt that values[i] comes from, any integers; a prompt may have many rows, and its
    value is their mean. Each resample draws as many prompts as there are, with replacement. Returns the
    (1 - level) / 2 and (1 + level) / 2 quantiles of the resampled means. The same seed gives the same
    interval.
    """
    ### BEGIN SOLUTION
    # canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1
    means = torch.stack([values[prompt == which].mean() for which in prompt.unique()])
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(means), (n_resamples, len(means)), generator=generator)
    resampled = means[drawn].double().mean(dim=1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = resampled.quantile(ends).tolist()
    return low, high
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "bootstrap_interval_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 06_interference/bootstrap_interval  (hidden tests run here when your work is graded)

# %%
checks.check_bootstrap_interval(bootstrap_interval)

# %% [markdown]
# <details><summary>How do I draw with replacement?</summary>
#
# `torch.randint(n, (n_resamples, n), generator=...)` gives `n_resamples` rows of `n` indices, each from
# 0 to n − 1; `means[drawn]` then has the same shape.
# </details>

# %% tags=["explore"]
# Part 4 not finished yet? Take the `#` away from these lines and go on; come back later.
# from steerlab.evaluation import plan_sweep, run_sweep
# some = [p for p in prompts if p.text in asked or (p.split == "selection" and p.kind != "mixed")]
# done = run_sweep(model, plan_sweep(model, sae, feature=feature, hook_name=hook_name, prompts=some,
#     alphas=alphas, n_controls=19, text_kinds=()), progress=False)
# effects_of = lambda name: [done.change("margin", name, alpha) for alpha in alphas]
# observed, base = torch.tensor(effects_of("subject")), mean_margin(torch.zeros_like(row))
# control_effects = {
#     family: torch.tensor([effects_of(name) for name in names])
#     for family, names in done.families().items()
# }

change_by_prompt = {
    alpha: margins_with(alpha * stream_norm * row / row.norm())
    - margins_with(torch.zeros_like(row))
    for alpha in alphas
}
print("dose   change   95% interval        p " + "   p ".join(control_effects))
for i, alpha in enumerate(alphas):
    if alpha:
        change = change_by_prompt[alpha]
        low, high = bootstrap_interval(change, torch.arange(len(change)), 0.95, 2000, 0)
        p = [rank_p(float(observed[i]), effects[:, i]) for effects in control_effects.values()]
        print(
            f"{alpha:+.1f}  {observed[i]:+7.2f}   [{low:+.2f}, {high:+.2f}]   "
            + "   ".join(f"{value:10.2f}" for value in p)
        )

# %% [markdown]
# The two columns answer two questions, and you need both. An interval that excludes 0 says that the
# effect would be there on other prompts; it does not say that *this* feature is needed for it. A small
# p says that few directions of that family do as much; it does not say how much. Note also the smallest
# p in the table. With 19 controls it is 1/20 and can be no smaller, however large the effect; that is
# why the full experiment draws 99.

# %% [markdown]
# ### What the source's first finding shows
#
# *"Surprisingly, the random control often had a larger impact."* Is that surprising? Say that the
# feature is nothing special. Then a random direction of the same length moves the margin further in
# one case out of two. One can ask the controls themselves: of all our directions, what share moves the
# margin further than the feature, at each dose?

# %% tags=["explore"]
everyone = torch.cat(list(control_effects.values()))
for i, alpha in enumerate(alphas):
    if alpha:
        share = float((everyone[:, i].abs() > observed[i].abs()).float().mean())
        print(f"dose {alpha:+.1f}: {share:.0%} of {len(everyone)} controls move the margin further")

# %% [markdown]
# So a single random direction that does more is about what to expect from a feature *without* any
# special effect on mathematics, and it is also what to expect now and then of one with. From one
# control no conclusion follows, in either direction. And since the source's feature and its control
# need not have had the same length, not even that one comparison was fair.

# %% [markdown]
# ## Part 6 · Is its code still code?
# *30 minutes, 3 points*
#
# The source called a completion's code valid if it found three backticks, something, and three
# backticks again. By that measure "```banana```" is a program. Python has a parser, and it is one
# import away: `ast.parse(source)` returns a tree, or raises `SyntaxError` (or, for text with null bytes
# in it, `ValueError`; for absurdly nested text `RecursionError` or `MemoryError`).
#
# A parser alone is still too kind. It accepts an empty text. It accepts `banana`, a name standing by
# itself, and `42`, and `"hello"`. None of these does anything, and almost any single word passes. So:
# **valid** means that it parses *and* that at least one statement is something else than a bare name
# or a bare constant. (In the tree, a statement that is just an expression is an `ast.Expr`, and what it
# holds is its `.value`.)


# %% nbgrader={"grade": false, "grade_id": "valid_code", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 06_interference/valid_code
def valid_code(source: str) -> bool:
    """Whether Python would accept the source, and it is more than bare names and constants.

    Nothing is executed. Empty source, comments alone, and statements that are all bare names or bare
    constants (numbers, strings, None, ...) are not valid. No source whatever raises an error.
    """
    ### BEGIN SOLUTION
    # canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Name | ast.Constant))
        for s in statements
    )
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "valid_code_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 06_interference/valid_code  (hidden tests run here when your work is graded)

# %%
checks.check_valid_code(valid_code)

# %% [markdown]
# ### Three shares and not one
#
# Push hard enough against code, and the model stops writing any. What is its rate of *valid* code then?
# Of nothing, nothing is invalid. Count absence as valid and the worst intervention looks best; count
# it as invalid and "it broke the code" and "it wrote none" are one number. So three shares are
# reported: $P(\text{present})$, $P(\text{valid} \mid \text{present})$ and $P(\text{present and
# valid})$. The middle one is **missing** where nothing is present: `None`, and not 0.


# %% nbgrader={"grade": false, "grade_id": "validity_shares", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 06_interference/validity_shares
def validity_shares(
    present: Bool[Tensor, "text"], valid: Bool[Tensor, "text"]
) -> tuple[float, float | None, float]:
    """(P(present), P(valid | present), P(present and valid)) over some texts.

    valid[i] means nothing where present[i] is False. The middle share is None where nothing is present.
    Raises ValueError for no texts.
    """
    ### BEGIN SOLUTION
    # canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1
    if len(present) == 0:
        raise ValueError("no texts: a share of nothing is no number")
    there, both = int(present.sum()), int(valid[present].sum())
    return there / len(present), both / there if there else None, both / len(present)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "validity_shares_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 06_interference/validity_shares  (hidden tests run here when your work is graded)

# %%
checks.check_validity_shares(validity_shares)

# %% [markdown]
# For LaTeX the same idea needs a parser for LaTeX, which the library brings (two of them: each lets
# through what the other one catches). Now both, on mixed prompts, for the feature and for one control
# of each family. A fence that is never closed is present and not valid.
#
# ### Predict: push the code feature
#
# Unsteered, every completion holds valid code. At dose 0.5 the feature left the margin of Part 4 almost
# alone. Of the completions that we get while we push it at that dose, what share holds valid code?

# %% tags=["predict"]
answer = 1.0  # a share between 0 and 1
valid_share = predict(
    "Share of completions of mixed prompts with valid code, code feature at dose 0.5:",
    answer,
    key="valid_share",
    low=0,
    high=1,
)

# %% tags=["explore"]
import re

from steerlab.evaluation import latex_validity

FENCE = re.compile(r"```(?:python)?\n(.*?)(?:\n```|\Z)", re.DOTALL)


def code_in(text):
    """(present, valid) of a completion's fenced code, by your function."""
    blocks = FENCE.findall(text)
    closed = text.count("```") % 2 == 0
    return bool(blocks), bool(blocks) and closed and all(valid_code(block) for block in blocks)


def written(vector, texts, n_tokens=settings.max_new_tokens):
    """Greedy completions with a vector added to the stream."""
    with steer(model, {hook_name: AddVector(vector)}):
        return generate(model, texts, max_new_tokens=n_tokens, mode=settings.mode)


asked_mixed = mixed[:16]
pushes = {f"feature {feature}": row} | {
    f"{name} control": draw(1)[0] for name, draw in families.items()
}
table, begun = {}, {}
for name, vector in pushes.items():
    for alpha in (-0.5, 0.0, 0.5):
        texts = [c.text for c in written(alpha * stream_norm * vector / vector.norm(), asked_mixed)]
        begun[name, alpha] = texts[0]
        code = [code_in(text) for text in texts]
        latex = [latex_validity(text) for text in texts]
        table[name, alpha] = [
            validity_shares(torch.tensor([p for p, _ in code]), torch.tensor([v for _, v in code])),
            validity_shares(
                torch.tensor([v.present for v in latex]),
                torch.tensor([bool(v.valid) for v in latex]),
            ),
        ]

if valid_share.filled:
    print(valid_share.beside(table[f"feature {feature}", 0.5][0][2]))
    print(f"\nn = {len(asked_mixed)} mixed prompts, computed now")
    print("P(present), P(valid | present), P(both)          code                LaTeX")
    for (name, alpha), both in table.items():
        cells = ["  ".join("  – " if s is None else f"{s:.2f}" for s in three) for three in both]
        print(f"{name:24} dose {alpha:+.1f}        {cells[0]}    {cells[1]}")
    print(f"\nThe first completion, of {asked_mixed[0]!r}")
    for (name, alpha), text in begun.items():
        if alpha or name.startswith("feature"):
            print(f"{name:24} dose {alpha:+.1f}  {text[:48]!r}")
else:
    print(valid_share.waiting())

# %% [markdown]
# ### A result that fails
#
# We meant to push the model towards code, and got none. At dose 0.5 it opens a fence for every prompt
# and then writes line break after line break until it is stopped: P(present) is 1, P(valid | present)
# is 0, and there is no formula left whose validity one could ask for. The feature was active at the
# ends of lines, where a line break comes next. Held on at every token, it does just that. Why did it
# look right? Because it *was chosen by where it is active*, and code is full of ends of lines.
#
# Now hold this against Part 4. At the same dose the margin had moved by 0.06 logits. Both numbers are
# right. The margin is read at the last token of the *prompt*; it knows of the one token that comes next,
# and that token is still `$$` or a fence. So "the code feature only slightly nudges the margin" is a
# sentence about one token. Everything that broke here broke after it.
#
# Two more things to take from the table. At dose −0.5 the feature makes a quarter of the completions
# go without code, and all code that is written is valid. One share in the place of three would have
# said 0.75 and left you to guess which of the two it was. And look at the decoder-row control at −0.5.
# All of its code is valid, and it adds other numbers than it was asked to. A parser checks form.

# %% [markdown]
# ## Part 7 · A hundred percent of what?
# *15 minutes*
#
# The source's second finding: *LaTeX formatting is highly robust.* It counts how many completions of
# mixed prompts **begin** with LaTeX, greedily decoded, and finds nearly 100% at every strength.
#
# ### Predict: the coin, decoded greedily
#
# On mixed prompts our model puts about half of its probability on LaTeX and half on code (Part 2). We
# let it answer greedily, that is, always with its most likely token, without any push. What share of
# the completions begins with LaTeX?

# %% tags=["predict"]
answer = 0.5  # a share between 0 and 1
latex_share = predict(
    "Share of unsteered, greedy completions of mixed prompts that begin with LaTeX:",
    answer,
    key="latex_share",
    low=0,
    high=1,
)

# %% tags=["explore"]
from steerlab.evaluation import latex_first


def begins_with_latex(vector):
    """Share of mixed prompts whose greedy completion begins with LaTeX."""
    return sum(latex_first(c.text) for c in written(vector, mixed, n_tokens=4)) / len(mixed)


def latex_odds(vector):
    """Mean log-odds of a math token on mixed prompts."""
    with steer(model, {hook_name: AddVector(vector)}):
        return float(math_margin(last_logits(mixed), is_math, is_token)[1].mean())


if latex_share.filled:
    print(latex_share.beside(begins_with_latex(torch.zeros_like(row))))
    unit = stream_norm * row / row.norm()
    print(f"\nfeature {feature}, n = {len(mixed)} mixed prompts, computed now")
    print("dose    begins with LaTeX   P(a math token is next)")
    for alpha in (-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5):
        odds = latex_odds(alpha * unit)
        share = torch.sigmoid(torch.tensor(odds))
        print(f"{alpha:+.2f}   {begins_with_latex(alpha * unit):8.0%}   {share:20.2f}")
else:
    print(latex_share.waiting())

# %% [markdown]
# One hundred percent, of a coin. Greedy decoding takes the *most likely* token, however narrowly it
# leads, and here `$$` leads by a few hundredths of a logit for every prompt at once. So the share says
# 100% where the probability says 0.51. At dose −0.5 the probability has risen to 0.54, and the share
# cannot show it: it is at its ceiling. At dose 0.1 the probability has *fallen by two points*, and the share
# drops to 18%; at 0.25 it is zero. In the whole table the probability moves by less than 0.1.
#
# That is no measure of robustness, in either direction. A share of greedy completions is a threshold
# applied to a number that you could have looked at. It shows nothing while the number moves on one
# side, and everything at once when it crosses. The source saw a flat line at 100%. Whether anything
# was flat underneath, its figure cannot say. Look at the log-odds, or draw samples and count those.

# %% [markdown]
# ## Part 8 · The whole experiment, on disk
# *15 minutes*
#
# What you built by hand is `steerlab evaluate`. In Python it is two calls: `plan_sweep` chooses the
# feature and draws all controls, once; `run_sweep` measures. It keeps one line of JSON for each prompt
# and direction as it goes, so that a killed run continues where it stopped, and sums everything up in
# a JSON and a CSV file. The sweep below is a small one.

# %% tags=["explore"]
import tempfile
from pathlib import Path

from steerlab.evaluation import plan_sweep, run_sweep

folder = Path(tempfile.mkdtemp())
plan = plan_sweep(
    model,
    sae,
    feature="code",
    hook_name=hook_name,
    alphas=(-0.5, 0.5),
    prompts=[p for p in prompts if p.split == "selection" or p in judges[::4]],
    n_controls=9,
    first_controls=4,
    text_controls=1,
    max_new_tokens=settings.max_new_tokens,
)
result = run_sweep(model, plan, folder, progress=False)
for path in sorted(folder.iterdir()):
    print(f"{path.name:24} {path.stat().st_size:>8,} bytes")
print("\n" + (folder / "records.jsonl").read_text().splitlines()[0])
print("\nchange of the margin, with its 95% interval over prompts")
for point in result.summary()["metrics"]["margin"]["all"]["points"]:
    low, high = point["change_interval"]
    print(f"dose {point['alpha']:+.1f}  {point['change']:+.2f}  [{low:+.2f}, {high:+.2f}]")

# %% [markdown]
# The full grid takes 99 controls of each family for the margin, 19 for how completions begin, 3 for
# whole completions, at six doses and on all prompts:
#
#     steerlab evaluate --model tiny --feature code --out results/code
#
# That is nine minutes on one core, so its result ships with the course. For another model the figure
# shows the small sweep above.

# %% tags=["explore"]
from steerlab.evaluation import load_recorded_sweep

recorded = load_recorded_sweep(settings.name)
if recorded is None:
    found = {
        metric: kinds["all"]["points"] for metric, kinds in result.summary()["metrics"].items()
    }
else:
    found = recorded.metrics
panels = {
    "margin": "math margin\n(logits)",
    "latex_first": "begins with LaTeX\n(share)",
    "code_present_and_valid": "code there and valid\n(share)",
    "latex_present_and_valid": "LaTeX there and valid\n(share)",
}
plots.interference_overlay(
    {label: found[metric] for metric, label in panels.items() if metric in found},
    name=recorded.name if recorded else plan.name,
    shares=[label for label in panels.values() if "share" in label],
    n=recorded.n if recorded else f"{len(plan.prompts)} prompts",
    provenance=recorded.made if recorded else "computed now",
)

# %% [markdown]
# From top to bottom. **The margin**: from −0.5 to 0.5 the feature lies in the thick of every family, with
# no p below 0.7. At dose 1 it lies below all 297 controls, p = 0.01 in each family, which is the
# smallest that 99 controls can give. **How completions begin**: the bands fill the whole height. At dose
# 0.25 more than a third of the 57 controls bring the share below 10%, and most of the others leave it
# at 100%: the coin falls to one side or to the other. A drop from 100% to 0% is what one direction in
# three does, and p says so, with 0.35 in each family. **Valid code and LaTeX**:
# three controls a family are hardly a band, and the smallest p that they can give is 1/4. But at dose 0.5
# the three isotropic controls break nothing, and the feature breaks everything.

# %% [markdown]
# ### At equal price
#
# Two pushes of the same length need not disturb a model equally: one may point where nothing listens.
# So effects are also compared at equal **KL divergence** from the unsteered model, the usual price of an
# intervention: it says how far the probabilities of the next token have moved, and is 0 where they have
# not. A direction that moves the margin much and everything else little is a sharper tool
# than one that buys the same change by turning the whole distribution over. (From here on, the small
# sweep again.)

# %% tags=["explore"]
plots.effect_by_price(
    result.effects("kl"),
    result.effects("margin"),
    result.families("margin"),
    name=plan.name,
    ylabel="change of the math margin (logits)",
    n=f"{len(plan.prompts)} prompts, {len(plan.controls['isotropic'])} controls a family",
)

# %% [markdown]
# Find the feature at dose 0.5, on the right. It lies far out and close to the zero line: it turns the
# distribution over more than nearly all controls of its length, and moves the margin less than most.
# *A small effect on the margin* is not *a small effect*.

# %% [markdown]
# ## Part 9 · In your own words
# *20 minutes, 5 points*
#
# A colleague writes: *"We steered with an honesty feature at strengths from −4 to 4. Its effect on the
# rate of refusals is small; a random vector had a larger one. So honesty and refusal do not interfere.
# Formatting is robust, too: 100% of all answers begin with a greeting at every strength. The feature
# was picked because it separated our 60 prompts best, on which all of this was measured."*
#
# In about 200 words: name **three** things that keep these conclusions from following, each with the
# measurement or control that would mend it and the outcome that would support the colleague. Use at
# least two numbers from *your own* figures above. Close with one sentence: what may be claimed as it
# stands?

# %% [markdown] nbgrader={"grade": true, "grade_id": "written", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# <!-- graded: 06_interference/written -->
#
# ### BEGIN SOLUTION
#
# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1
#
# *One random vector.* "A random vector had a larger effect" is what to expect half of the time from a
# feature that does nothing special, and now and then from one that does. In my sweep 95% of 57 controls
# moved the margin further than the code feature at dose 0.5 and none of them at dose 1. I would draw 99
# directions of each of three families, once, all of the feature's length at every strength (strengths
# from −4 to 4 are no dose, and a decoder row may be longer than a random unit vector), and give a
# two-sided rank p with an interval over prompts. If the feature stays in the middle of all three
# families at the largest usable dose, and the interval excludes every effect that matters, your
# colleague is right about "small". *Chosen and judged on the same prompts.* Some feature separates any
# 60 prompts by luck. Choose on 30 and judge on the other 30; if the result holds there, I believe it.
# *100% of answers begin with a greeting.* Mine began with LaTeX in 100% of cases where the model gave LaTeX a
# probability of 0.51, and in 18% at dose 0.1. Report the probability of a greeting, or sample. If that
# is flat over the strengths, then formatting is robust.
#
# *What may be claimed:* on these 60 prompts, at these strengths, no change of the refusal rate was seen
# that exceeds that of one random vector. That is no absence of interference.
#
# ### END SOLUTION

# %% [markdown] tags=["author"]
# **Rubric for the written question (5 points)**
#
# | points | for |
# |---|---|
# | 3 | one for each sound objection, if it comes with a control that fits it *and* an outcome that would support the colleague; half a point where the outcome is missing. Sound: one random vector (rank among many, three families, two-sided p); no common length (strengths −4 to 4 are no dose, feature and control may differ in norm); chosen and judged on the same 60 prompts; a rate of greedy answers at 100% cannot show a change (log-odds, sampling); no interval over prompts; "small" without a p is not "none" (absence of evidence); fluency or KL not reported. |
# | 1 | two numbers from the student's own figures, quoted with what they are (a bare number: half) |
# | 1 | a last sentence that claims what was measured, and no absence of interference |
#
# Do not grade style or length.

# %% [markdown]
# ## Bonus
# *no points*
#
# 1. **The other way round.** Push the *math* feature and count valid code. Is interference mutual?
# 2. **The mean difference.** `plan_sweep(model, sae, direction="mean-difference")` pushes along code
#    minus mathematics. Does it rank further out among shuffled labels than the feature does?
# 3. **Your own prompts.** Write twenty of each kind into a JSON file and pass it as `prompts`.
#
# ## What to keep
#
# - A margin compares two tokens, log-odds two probabilities. The two sets must not overlap.
# - What chooses must not judge.
# - A control has the same length, is drawn once, and has many siblings. Beating the isotropic ones
#   alone shows little.
# - Resample what you sampled: prompts, not tokens.
# - Absent is not invalid, and invalid is not absent. A share of nothing is missing.
# - A rate at 100% may be robust, or may be a threshold that hides everything. Look at the
#   probability.
#
# **Sources.** Escobedo 2025, *superposition_project: SAE steering on Qwen3-4B-Instruct* (the experiment
# that this notebook grew out of, and its defects). Efron 1979, *Bootstrap Methods: Another Look at the
# Jackknife*. Bricken et al. 2023, *Towards Monosemanticity*. Phipson and Smyth 2010, *Permutation
# P-values Should Never Be Zero*.
