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
# # 01 · Steering by mean difference
#
# A language model has read *The movie that I saw yesterday was* and is about to write the next
# word. Somewhere in the few hundred or few thousand numbers that it holds at this moment lies
# something like a mood: is this going to be praise or a complaint? In this notebook you find the
# direction in which that mood lies, push the model along it while it writes, and watch the same
# review turn out well or badly.
#
# That takes about forty lines of code. The second half of the notebook is about a harder question,
# which most demonstrations leave out: was it really *your* direction that did it, and what did it
# cost?
#
# **Afterwards you can**
#
# - read the residual stream of a model at any layer, and say which tokens should not be counted;
# - build a steering vector from two small sets of sentences;
# - add it while the model writes, at exactly the positions that you mean, with and without a KV
#   cache;
# - measure what the steering did and what it cost in fluency;
# - name three ways in which such a result can fool you, and the control that catches each of them.
#
# **You need** Python and PyTorch: indexing, broadcasting, a mean over one dimension. It helps to
# have seen that a transformer is a stack of blocks. Nothing about interpretability is assumed;
# every term of interpretability is explained where it first comes up.
#
# | part | | minutes | points |
# |---|---|---|---|
# | 1 | Looking inside | 10 | – |
# | 2 | One vector for each sentence | 25 | 4 |
# | 3 | The difference of two means | 15 | 1 |
# | 4 | Where to steer | 15 | 2 |
# | 5 | Steering while the model writes | 30 | 6 |
# | 6 | Counting the effect | 15 | 2 |
# | 7 | What could be wrong with this result? | 25 | – |
# | 8 | Two defects to find, and one result that fails | 20 | – |
# | 9 | In your own words | 20 | 5 |
#
# **How to work.** Run the cells from top to bottom. Where a cell says `YOUR CODE HERE`, replace the
# line that raises an error. The cell after the next one is a *check*: it looks at your function and
# tells you what it finds. Checks are there to help and give no points; the points come from other
# inputs when your work is graded. Some cells ask you to *predict* a result. Their figures do not
# appear before you have committed to an answer. Answering earns no points and being wrong costs
# none; being surprised is the point.
#
# **If a function will not come right**, go on and come back later. Part 3 has a way round
# `sentence_residuals`. The texts and the figure of Part 5 need `steering_mask`, `steering_hooks`
# and `generate_with_hooks`; Part 6 and most of Part 7 need `steering_hooks` and `concept_score`;
# the controls of Part 7 need `steering_hooks` alone; Part 8 needs all of these but
# `concept_score`. The vectors themselves need `mean_difference`.

# %% tags=["install"]
# install steerlab

# %% [markdown]
# One variable picks the model. `"tiny"` is a small language model that comes with the course: it
# has read several million words of made-up reviews, stories and chats, runs on any laptop without a
# network, and has moods like the large ones. On a GPU, `"gpt2"` or `"gemma-2-2b-it"` work too.
# Nothing else in the notebook changes with it.

# %%
MODEL = "tiny"  # @param ["tiny", "gpt2", "gemma-2-2b", "gemma-2-2b-it", "qwen3-4b", "olmo-2-7b"] {allow-input: true}

# %%
import re

import torch
from jaxtyping import Bool, Float, Int
from steerlab import checks, course_settings, load_model, plots
from steerlab.data import sentences, sentiment_words
from steerlab.predict import predict
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

model = load_model(MODEL)  # together with the imports this takes about 15 seconds
settings = course_settings(model)

# %% [markdown]
# ## Part 1 · Looking inside
# *10 minutes*
#
# A model does not read letters. Its **tokenizer** cuts the text into **tokens**, which are words or
# pieces of words, and gives each a number. Most models put one more token in front of every text:
# **BOS**, "beginning of sequence". It is the same for every text and says nothing about any of
# them.
#
# For each token the model keeps one vector of `d_model` numbers. Every **block** of the model reads
# these vectors, works something out, and *adds* its result to them. This running sum is the
# **residual stream**. Whatever a later block knows about the text, it knows from there, which makes
# it the natural place to look, and the natural place to interfere.
#
# A **hook point** is a named place in the model where we may look at a tensor or replace it. The
# residual stream just before block 0 is called `blocks.0.hook_resid_pre`, before block 1
# `blocks.1.hook_resid_pre`, and so on. By *layer* `l` we mean that place: before block `l`.
# `model.run_with_cache(tokens)` runs the model once and gives back what passed through the hook
# points.

# %% tags=["explore"]
example = model.to_tokens("The movie that I saw yesterday was wonderful.")
_, seen = model.run_with_cache(example)
first_block = seen["blocks.0.hook_resid_pre"]

print("tokens        ", model.to_str_tokens(example[0]))
print("layers        ", model.cfg.n_layers)
print("residual      ", list(first_block.shape), "= [batch, pos, d_model]")
for layer in (0, model.cfg.n_layers - 1):
    lengths = seen[f"blocks.{layer}.hook_resid_pre"][0].norm(dim=-1).tolist()
    print(f"length, layer {layer}", [round(length, 1) for length in lengths])

# %% [markdown]
# The first token is BOS. In some models, the embedded one among them, it prints as
# `<|endoftext|>`, because one and the same token begins a text and ends it.
#
# BOS stands at *position 0*. In large models the vector at position 0 is often many times as long
# as any other. Attention has to put its weight somewhere, and where there is nothing worth
# attending to, heads learn to park it on the first token (an *attention sink*; Xiao et al. 2023).
# In the embedded model you hardly see this, but position 0 is just as little about the sentence.
# Keep this in mind for the next part.

# %% [markdown]
# ## Part 2 · One vector for each sentence
# *25 minutes, 4 points*
#
# We want to compare happy sentences with unhappy ones. They have different lengths, so their
# residual streams have different shapes. The simplest cure is to average over the tokens of a
# sentence: what is particular to single words blurs, and what the sentence carries along all the
# way remains.
#
# In a formula: for sentence $s$ let $T_s$ be the positions of its tokens, without position 0. With
# $x^{(l)}_{s,t}$ the residual stream before block $l$ at position $t$,
#
# $$\bar x^{(l)}_s = \frac{1}{|T_s|} \sum_{t \in T_s} x^{(l)}_{s,t}.$$
#
# Two kinds of token must stay out of the sum. Position 0, because it is not about the sentence. And
# *padding*: when several sentences of unequal length are run as one batch, the shorter ones are
# filled up with a meaningless token.


# %% nbgrader={"grade": false, "grade_id": "sentence_residuals", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 01_mean_diff/sentence_residuals
def sentence_residuals(
    model: TransformerBridge, sentences: list[str]
) -> Float[Tensor, "sentence layer d_model"]:
    """Mean residual stream of each sentence at every layer.

    Entry [i, l] is the mean of `blocks.{l}.hook_resid_pre` over the tokens of sentences[i], position 0
    and padding left out. Layers run from 0 to model.cfg.n_layers - 1. Every sentence has at least
    one token after position 0.
    """
    ### BEGIN SOLUTION
    # canary-5e04d68c68e9eab8cde484408dc2ae67
    hook_names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
    means = []
    for sentence in sentences:
        # One sentence at a time needs no padding, hence no mask.
        with torch.no_grad():
            _, cache = model.run_with_cache(model.to_tokens(sentence), names_filter=hook_names)
        means.append(torch.stack([cache[name][0, 1:].mean(dim=0) for name in hook_names]))
    return torch.stack(means)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "sentence_residuals_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 01_mean_diff/sentence_residuals  (hidden tests run here when your work is graded)

# %%
checks.check_sentence_residuals(sentence_residuals, model)

# %% [markdown]
# <details><summary>How do I begin?</summary>
#
# Take one sentence. `model.to_tokens(sentence)` has shape `[1, pos]`. Run it as in Part 1, pick the
# hook point of layer 0 from the cache, and look at the shape of what you got. Average that over the
# right positions. Then add a loop over layers, and a loop over sentences. `torch.stack` makes one
# tensor of a list of equal-shaped ones.
# </details>
#
# <details><summary>Why is it slow, or out of memory?</summary>
#
# `run_with_cache` keeps every hook point of the model unless told otherwise: `names_filter=[...]`
# takes a list of the names that you want. And `with torch.no_grad():` spares PyTorch the
# book-keeping for gradients that nobody will ask for.
# </details>
#
# <details><summary>May I run all sentences as one batch?</summary>
#
# Yes, and on a GPU it pays. But mind two things. `model.to_tokens(list_of_strings)` pads and does
# not tell you where; in several models the padding token *is* the BOS token, so you cannot find out
# from the ids. And this course pads on the *left*, so without an attention mask the real tokens sit
# at the wrong positions. `model.tokenizer(sentences, return_tensors="pt", padding=True)` gives ids
# and an `attention_mask` (without BOS in some models: compare with `to_tokens`), and
# `run_with_cache` takes `attention_mask=...`.
# </details>
#
# <details><summary>Why <code>hook_resid_pre</code>, when the mean difference is so often taken at <code>resid_post</code>?</summary>
#
# They are the same stream: what leaves block 3 is what enters block 4. Only the numbering differs.
# It has to be the same numbering when you read the vector and when you add it, and we say
# `resid_pre` everywhere.
# </details>

# %% [markdown]
# Now your function reads real data. `sentences("positive", n, seed)` gives `n` short happy
# sentences from the course's corpus, `"negative"` unhappy ones. They are not clean: about one mood
# word in eight is drawn at random, as in real life.

# %% tags=["explore"]
n_sentences = settings.n_sentences
positive = sentences("positive", n_sentences, seed=1)
negative = sentences("negative", n_sentences, seed=2)
print(*positive[:3], *negative[:3], sep="\n")

positive_residuals = sentence_residuals(model, positive)
negative_residuals = sentence_residuals(model, negative)
print("\npositive", list(positive_residuals.shape), " negative", list(negative_residuals.shape))

# %% [markdown]
# ### Predict: does BOS matter at all?
#
# Here is an argument. *The vector at BOS is the same in every sentence. If I forget to leave it
# out, it gets into the positive mean and into the negative mean alike. Then I subtract one from the
# other, and it is gone. So I need not care.*
#
# We test it in two situations: sentences drawn at random, and a data set where the happy sentences
# happen to be short and the unhappy ones long. In each we compute the difference of means twice,
# with BOS and without, and measure the angle between the two results: 0° means that BOS had no
# influence, 90° that the vector has nothing to do with what it should be. What angle do you expect
# in the *second* situation, at the layer where it is largest?

# %% tags=["predict"]
answer = 0  # an angle between 0 and 90 degrees
bos_prediction = predict(
    "Short happy sentences against long unhappy ones: by how many degrees does BOS turn the vector?",
    answer,
    key="bos",
    unit="degrees",
    low=0,
    high=90,
)

# %% tags=["explore"]
from steerlab.activations import tokenize
from steerlab.hooks import read_batch

hook_names = settings.hook_names


def with_position_0(texts, residuals):
    """The means [sentence, layer, d_model] as they would be, had position 0 been counted."""
    batch = tokenize(model, texts)
    read = read_batch(model, batch, hook_names)
    first = torch.stack([read[name][batch.positions == 0] for name in hook_names], dim=1)
    n = (batch.lengths - 1)[:, None, None]
    return (n * residuals + first) / (n + 1)


def turned_by_bos(rows, other_rows):
    """Angle in degrees at each layer between the difference with position 0 and without."""
    rows, other_rows = list(rows), list(other_rows)
    plus, minus = positive_residuals[rows], negative_residuals[other_rows]
    plus_bos = with_position_0([positive[i] for i in rows], plus)
    minus_bos = with_position_0([negative[i] for i in other_rows], minus)
    without = plus.mean(0) - minus.mean(0)
    including = plus_bos.mean(0) - minus_bos.mean(0)
    cosine = torch.cosine_similarity(without, including, dim=-1).clamp(-1, 1)
    return torch.rad2deg(torch.acos(cosine)).tolist()


by_length = sorted(range(n_sentences), key=lambda i: len(positive[i]))
other_by_length = sorted(range(n_sentences), key=lambda i: len(negative[i]))
third = n_sentences // 3
angles = {
    "sentences drawn at random": turned_by_bos(range(n_sentences), range(n_sentences)),
    "short happy, long unhappy": turned_by_bos(by_length[:third], other_by_length[-third:]),
}
plots.bos_angle(
    angles, bos_prediction, n=f"{n_sentences} + {n_sentences} sentences, or {third} + {third}"
)
if bos_prediction.filled:
    print(bos_prediction.beside(max(angles["short happy, long unhappy"])))

# %% [markdown]
# <details><summary>Why does BOS not cancel? (Open this after you have seen the figure.)</summary>
#
# The argument has a hole. BOS does enter both means, but *not with the same weight*. In a sentence
# of $n$ tokens it has the weight $1/n$. In the difference of two means it is left with
#
# $$\operatorname{mean}\left(\tfrac{1}{n_+}\right) - \operatorname{mean}\left(\tfrac{1}{n_-}\right),$$
#
# which is zero only if both sets have the same lengths. Where happy sentences are shorter, part of
# your "happiness" is *shortness*, multiplied by a vector that says nothing about any sentence.
# Nothing crashes, and the vector still steers about as well as the clean one, so no later figure
# will warn you. This is the kind of mistake that this notebook is about.
# </details>

# %% [markdown]
# ## Part 3 · The difference of two means
# *15 minutes, 1 point*
#
# Now the idea itself, and it is short. Take the average of the positive sentences and the average
# of the negative ones. Both contain everything that sentences have in common: grammar, the
# frequency of words, that this is a review. Subtract, and all of that drops out. What is left
# points from unhappy to happy:
#
# $$v^{(l)} = \frac{1}{N_+}\sum_{s \in +} \bar x^{(l)}_s \;-\; \frac{1}{N_-}\sum_{s \in -} \bar x^{(l)}_s .$$
#
# This $v^{(l)}$ is the **steering vector** of layer $l$. (Activation addition: Turner et al. 2023;
# contrastive activation addition: Rimsky et al. 2024.) The two sets need not have the same size.


# %% nbgrader={"grade": false, "grade_id": "mean_difference", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 01_mean_diff/mean_difference
def mean_difference(
    positive: Float[Tensor, "n_positive layer d_model"],
    negative: Float[Tensor, "n_negative layer d_model"],
) -> Float[Tensor, "layer d_model"]:
    """The steering vector of each layer: mean of the positive sentences minus mean of the negative.

    Its length is kept: it says how far apart the two sets lie.
    """
    ### BEGIN SOLUTION
    # canary-5e04d68c68e9eab8cde484408dc2ae67
    return positive.mean(dim=0) - negative.mean(dim=0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "mean_difference_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 01_mean_diff/mean_difference  (hidden tests run here when your work is graded)

# %%
checks.check_mean_difference(mean_difference)

# %% tags=["explore"]
# Part 2 not finished yet? Take the `#` away from these lines and go on; come back later.
# from steerlab.activations import collect
# hook_names = list(settings.hook_names)
# def means(texts):
#     read = collect(model, texts, hook_names)
#     return torch.stack([read.mean_per_document(name) for name in hook_names], dim=1)
# positive_residuals, negative_residuals = means(positive), means(negative)

vectors = mean_difference(positive_residuals, negative_residuals)

for layer in settings.layers:
    alike = torch.cosine_similarity(vectors[layer], vectors[settings.layer], dim=0)
    length = vectors[layer].norm()
    print(f"layer {layer}: length {length:6.2f}, cosine with layer {settings.layer}: {alike:.2f}")

# %% [markdown]
# Each layer has its own vector. They are related and not the same: the blocks in between have
# rewritten the stream. So a vector is added at the layer where it was read.

# %% [markdown]
# ## Part 4 · Where to steer
# *15 minutes, 2 points*
#
# We are going to add the vector to the residual stream *of some tokens*. Of which?
#
# | `positions` | steers | |
# |---|---|---|
# | `"all"` | every position but 0 | the usual choice |
# | `"prompt"` | the prompt, without position 0 | changes how the prompt was understood |
# | `"generated"` | what the model writes itself | leaves the prompt as it is |
#
# Position 0 is never steered. Every token leans on it, and pushing it disturbs all of them at once.
#
# That sounds like a line of code, and it would be, were it not for the **KV cache**. When a model
# writes, it runs once for each new token. The earlier tokens do not change, and what later tokens
# need of them (a *key* and a *value* in each attention layer) does not either, so one keeps those
# in a cache and feeds only the new token. That is many times faster, and it changes what a hook
# gets to see:
#
# | | without cache | with cache |
# |---|---|---|
# | pass 1 | positions 0 … 6 (the prompt) | positions 0 … 6 |
# | pass 2 | positions 0 … 7 | position 7, *as row 0 of a tensor with one row* |
# | pass 3 | positions 0 … 8 | position 8, as row 0 of a tensor with one row |
#
# A hook that spares position 0 by writing `resid[:, 1:] += v` steers nothing at all from pass 2 on.
# So we count in **absolute positions**, from the beginning of the text. A pass covers `n_tokens` of
# them beginning at `start`, and your function says which of these are to be steered.


# %% nbgrader={"grade": false, "grade_id": "steering_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 01_mean_diff/steering_mask
def steering_mask(
    start: int, n_tokens: int, n_prompt: int, positions: str
) -> Bool[Tensor, "n_tokens"]:
    """Which tokens of one forward pass are steered.

    The pass covers the absolute positions start, start + 1, ..., start + n_tokens - 1 of a text whose
    first n_prompt tokens (BOS counts) are the prompt. positions is "all", "prompt" or
    "generated"; position 0 is never steered. Raises ValueError for any other word.
    """
    ### BEGIN SOLUTION
    # canary-5e04d68c68e9eab8cde484408dc2ae67
    absolute = torch.arange(start, start + n_tokens)
    in_prompt = absolute < n_prompt
    wanted = {"all": in_prompt | ~in_prompt, "prompt": in_prompt, "generated": ~in_prompt}
    if positions not in wanted:
        raise ValueError(f"positions is one of {list(wanted)}, not {positions!r}")
    return wanted[positions] & (absolute > 0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "steering_mask_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 01_mean_diff/steering_mask  (hidden tests run here when your work is graded)

# %%
checks.check_steering_mask(steering_mask)

# %% [markdown]
# <details><summary>How do I get the absolute positions?</summary>
#
# `torch.arange(a, b)` counts from `a` to `b - 1`. Comparing a tensor with a number gives a tensor
# of `True` and `False`; `&`, `|` and `~` combine such tensors element by element.
# </details>
#
# <details><summary>Why should a typing mistake raise an error?</summary>
#
# With `positions="promt"` a forgiving function returns a mask that is `False` everywhere, and the
# experiment runs without steering. You would see that "steering the prompt has no effect" and might
# well believe it.
# </details>

# %% [markdown]
# ### Predict: who is the first to notice?
#
# You steer with `positions="generated"`: the prompt stays untouched, everything that the model
# writes is steered. Which is the *first* new token that can differ from what the model would have
# written anyway?

# %% tags=["predict"]
answer = "1"  # "1", "2" or "3"
first_change = predict(
    "positions='generated': the first new token that can change is number …",
    answer,
    key="first_change",
    options=["1", "2", "3"],
)

# %% [markdown]
# You will see the answer in Part 5, as soon as you can generate.

# %% [markdown]
# ## Part 5 · Steering while the model writes
# *30 minutes, 6 points*
#
# To steer, we replace the residual stream $x_t$ at layer $l$ by
#
# $$x_t \;+\; c \, m_t \, v^{(l)},$$
#
# where $m_t$ is 1 for the positions in your mask and 0 elsewhere, and $c$ is the **coefficient**:
# positive for happy, negative for unhappy, 0 for no steering. In code this is done by a **hook
# function**. The model calls it as `hook_fn(resid, hook=...)` with the stream `[batch, n_tokens,
# d_model]` at its hook point, and goes on with whatever it returns. `steering_hooks` makes one such
# function for each layer that you want to steer.
#
# Three traps lie here. None of them raises an error where it is made:
#
# 1. **In place.** `resid += ...` changes a tensor that others hold, too: what an earlier block has
#    written, what a cache has recorded. Return a new tensor instead.
# 2. **Late binding.** A function made in a loop looks the loop variable up when it *runs*. By then
#    the loop has ended, and all hooks add the last layer's vector.
# 3. **dtype.** On a GPU the stream is often float16 and your vector float32; their sum is float32,
#    and the next block refuses it or quietly computes something else.


# %% nbgrader={"grade": false, "grade_id": "steering_hooks", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 01_mean_diff/steering_hooks
def steering_hooks(
    vectors: Float[Tensor, "layer d_model"],
    coefficient: float,
    layers: list[int],
    mask: Bool[Tensor, "n_tokens"],
) -> list[tuple]:
    """One (hook name, hook function) pair for each of `layers`, in their order.

    The pair of layer l has the name "blocks.{l}.hook_resid_pre". Its function is called as
    hook_fn(resid, hook=...) with resid [batch, n_tokens, d_model] and returns a new tensor of the same
    shape, dtype and device, in which coefficient * vectors[l] was added where the mask is True. resid itself stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-5e04d68c68e9eab8cde484408dc2ae67

    def adding(vector):
        def hook_fn(resid, hook):
            push = coefficient * mask[:, None].to(vector) * vector
            return resid + push.to(resid)

        return hook_fn

    return [(f"blocks.{layer}.hook_resid_pre", adding(vectors[layer])) for layer in layers]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "steering_hooks_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 01_mean_diff/steering_hooks  (hidden tests run here when your work is graded)

# %%
checks.check_steering_hooks(steering_hooks)

# %% [markdown]
# <details><summary>How do I multiply a mask of shape <code>[n_tokens]</code> with a vector of shape <code>[d_model]</code>?</summary>
#
# `mask[:, None]` has shape `[n_tokens, 1]`. Multiplied with `[d_model]` that broadcasts to
# `[n_tokens, d_model]`, one row for each token, and added to `[batch, n_tokens, d_model]` it is
# repeated over the batch.
# </details>
#
# <details><summary>All my hooks add the same vector. Why?</summary>
#
# You have met late binding. Make the hook inside a small function that takes the vector as its
# argument: each call of that function has its own variable. (`lambda resid, hook, v=v: ...` works
# as well: default values are looked up when the function is made.)
# </details>
#
# <details><summary>How do I keep dtype and device?</summary>
#
# `a.to(b)` gives `a` the dtype and device of tensor `b`. Convert what you add, not the stream. The
# mask comes from the CPU while the stream may lie on a GPU: `mask.to(resid.device)` brings it over.
# </details>

# %% [markdown]
# Next, the loop that writes. A model gives **logits**, one number for each token of its vocabulary;
# the token with the largest logit at the *last* position is its best guess for what comes next.
# **Greedy** generation takes that token, appends it, and runs again.
#
# The hooks must know which positions a pass covers. So your loop does not take hooks; it takes a
# function `hooks_at(start, n_tokens)`, and asks it for the hooks before every pass. Here is how a
# pass runs with hooks, without a cache and with one:
#
# ```python
# pairs = [(hook_name, hook_fn), ...]
# with model.hooks(fwd_hooks=pairs):      # the hooks are gone when the block ends
#     logits = model(whole_text)          # token ids [batch, pos] -> logits [batch, pos, vocabulary]
#
# cached = dict(use_past_kv_cache=True, return_type="logits_and_cache")
# with model.hooks(fwd_hooks=pairs):
#     logits, memory = model(whole_text, past_key_values=None, **cached)     # the first pass
# with model.hooks(fwd_hooks=other_pairs):
#     logits, memory = model(new_token, past_key_values=memory, **cached)    # every later pass
# ```
#
# (Hook names that the model does not have are ignored without a warning. If steering has no effect
# at all, print the names.)


# %% nbgrader={"grade": false, "grade_id": "generate_with_hooks", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 01_mean_diff/generate_with_hooks
def generate_with_hooks(
    model: TransformerBridge, prompt: str, hooks_at, max_new_tokens: int, use_cache: bool
) -> Int[Tensor, "total"]:
    """Greedy generation, with hooks that may differ from pass to pass.

    Before each forward pass calls hooks_at(start, n_tokens), with the absolute position of the first
    token that is fed and the number of tokens that are fed, and runs the pass with the hooks that it returns.
    Without the cache every pass feeds the whole text; with it, passes after the first feed
    the newest token only. Returns the tokens of model.to_tokens(prompt) followed by up to max_new_tokens
    new ones; stops early after the model's end-of-text token (model.tokenizer.eos_token_id), which is kept.
    """
    ### BEGIN SOLUTION
    # canary-5e04d68c68e9eab8cde484408dc2ae67
    tokens = model.to_tokens(prompt)
    start, past = 0, None
    for _ in range(max_new_tokens):
        fed = tokens[:, start:]
        with torch.no_grad(), model.hooks(fwd_hooks=hooks_at(start, fed.shape[1])):
            logits, past = model(
                fed,
                past_key_values=past,
                use_past_kv_cache=use_cache,
                return_type="logits_and_cache",
            )
        if use_cache:
            start = tokens.shape[1]
        else:
            past = None
        newest = logits[:, -1].argmax(dim=-1, keepdim=True)
        tokens = torch.cat([tokens, newest], dim=1)
        if newest.item() == model.tokenizer.eos_token_id:
            break
    return tokens[0]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "generate_with_hooks_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 01_mean_diff/generate_with_hooks  (hidden tests run here when your work is graded)

# %%
checks.check_generate_with_hooks(generate_with_hooks, model)

# %% [markdown]
# <details><summary>Where do I begin?</summary>
#
# Write it without the cache first and run the check with the `use_cache=True` half failing: the
# loop has four lines. Which tokens are fed? All, so `start` is 0. Ask for hooks, run, take the
# largest logit at the last position, append. Then let a variable `start` decide what is fed, and
# keep the cache from one pass to the next.
# </details>
#
# <details><summary>With the cache my text goes wrong after a few tokens.</summary>
#
# The cache remembers what it was fed. If you feed the whole text again, every token stands in it
# twice. Feed `tokens[:, start:]`, with `start` the number of tokens that are already in the cache.
# And hand the memory that one pass returns to the next one.
# </details>
#
# <details><summary>My text ends before it has begun.</summary>
#
# The token that ends a text may be the one that begins it, BOS. Stop when the *new* token is the
# end token, and do not look for it among the tokens of the prompt.
# </details>

# %% [markdown]
# ### Neutral, happy, unhappy
#
# Your functions together steer a model. One thing is still missing: how large should the
# coefficient be? A coefficient alone says little, since the vectors of two layers, or of two
# methods, differ in length. So we state a **dose**: the length of what is added, divided by the
# length of what is there,
#
# $$\text{dose} = \frac{\lVert c\, v^{(l)} \rVert}{\operatorname{mean}_t \lVert x^{(l)}_t \rVert},$$
#
# where the mean runs over the tokens of the prompts without position 0. A dose of 0.5 adds a vector
# half as long as the stream itself. With several layers their doses are added. A negative dose means
# a negative coefficient.
#
# Which layer, and which dose? `settings` names one of each. They were fixed beforehand for each
# model, a layer in the middle and a moderate dose. Choosing them by their result would be one more
# way to fool yourself.
#
# A word about what you will read. The world of the embedded model is small, and greedy text repeats
# itself. Watch the adjectives, mainly in the rows marked "negative".

# %% tags=["explore"]
from steerlab.activations import collect


def as_read(prompt):
    """What the model reads: the prompt itself, or a turn of a chat for a model made for chats."""
    if settings.mode == "raw":
        return prompt
    turns = [{"role": "user", "content": prompt}]
    text = model.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return text.removeprefix(model.tokenizer.bos_token or "")  # to_tokens adds it again


prompts = [as_read(prompt) for prompt in settings.prompts]
stream = collect(model, prompts, hook_names)
stream_length = [float(stream.values[name].norm(dim=-1).mean()) for name in hook_names]


def coefficient_for(vectors, dose, layers):
    """The coefficient that gives `dose`, summed over `layers`."""
    dose_of_one = sum(float(vectors[layer].norm()) / stream_length[layer] for layer in layers)
    return dose / dose_of_one


def steered_text(prompt, vectors, coefficient, layers, positions="all", use_cache=True):
    """The prompt and what the model writes after it, steered by your functions."""
    n_prompt = model.to_tokens(prompt).shape[1]

    def hooks_at(start, n_tokens):
        mask = steering_mask(start, n_tokens, n_prompt, positions)
        return steering_hooks(vectors, coefficient, layers, mask)

    tokens = generate_with_hooks(model, prompt, hooks_at, settings.max_new_tokens, use_cache)
    return prompt + model.to_string(tokens[n_prompt:]).removesuffix(model.tokenizer.eos_token)


coefficient = coefficient_for(vectors, settings.dose, [settings.layer])
print(f"layer {settings.layer}, dose {settings.dose}, coefficient {coefficient:.2f}\n")
for prompt in prompts:
    for name, c in [("neutral", 0.0), ("positive", coefficient), ("negative", -coefficient)]:
        print(f"{name:8}  {steered_text(prompt, vectors, c, [settings.layer])}")
    print()

# %% [markdown]
# The same prompts, the same model, one vector added. (Where the unsteered text is happy already,
# the push to the happy side has little to show. One more reason to count, in Part 6, over many
# completions.) Try other prompts, other coefficients, another layer.
#
# And now the prediction from Part 4. Eight openings are continued at the same dose with each of the
# three `positions`, and compared token by token with the unsteered text.

# %% tags=["explore"]
openings = [" ".join(text.split()[:4]) for text in sentences("neutral", 8, seed=3)]
n_shown = 6


def new_tokens(opening, c, positions):
    """The first n_shown tokens that the model writes after the opening; -1 after the end."""
    n_prompt = model.to_tokens(opening).shape[1]

    def hooks_at(start, n_tokens):
        mask = steering_mask(start, n_tokens, n_prompt, positions)
        return steering_hooks(vectors, c, [settings.layer], mask)

    tokens = generate_with_hooks(model, opening, hooks_at, n_shown, True)[n_prompt:].tolist()
    return tokens + [-1] * (n_shown - len(tokens))


unsteered = torch.tensor([new_tokens(opening, 0.0, "all") for opening in openings])
changed = {}
for where in ["all", "prompt", "generated"]:
    steered = torch.tensor([new_tokens(opening, coefficient, where) for opening in openings])
    changed[where] = (steered != unsteered).float().mean(0).tolist()
plots.changed_tokens(changed, first_change, n=f"{len(openings)} openings, dose {settings.dose}")
if first_change.filled:
    differs = [str(k + 1) for k, share in enumerate(changed["generated"]) if share > 0]
    print(first_change.beside(differs[0] if differs else "no change"))

# %% [markdown]
# <details><summary>Why is it that one? (Open this after you have seen the figure.)</summary>
#
# With `"generated"`, the first column is 0 for every model there is. The first new token is
# predicted *at the last position of the prompt*, and the prompt was not steered. Steering a token
# changes what is predicted *after* it. If you ever evaluate steering by one next token, with the
# positions set to "generated", you measure nothing.
# </details>

# %% [markdown]
# ## Part 6 · Counting the effect
# *15 minutes, 2 points*
#
# Three texts that look right are an anecdote. To compare strengths, layers and controls we need a
# number. Ours is as plain as can be: of the words in the completion that are clearly happy or
# clearly unhappy, which share is happy?
#
# $$\text{score} = \frac{\#\text{for}}{\#\text{for} + \#\text{against}}$$
#
# Two decisions hide in it. **The prompt does not count**: we wrote it, not the model, and a mood
# word in it would be in every score. And **where there is nothing to count, there is no score**. A
# completion with none of the words is not half happy, and not unhappy either. Its score is missing,
# `None`, and it is left out of the average. (If a method leaves most scores missing, that is worth
# knowing by itself.)


# %% nbgrader={"grade": false, "grade_id": "concept_score", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 01_mean_diff/concept_score
def concept_score(
    prompt: str, text: str, words_for: list[str], words_against: list[str]
) -> float | None:
    """Share of words_for among the words of a completion that are in either list.

    text begins with prompt, and the rest of it is the completion; only that is counted. A word is an
    unbroken run of letters a-z, compared whole and without regard to case; a word that comes twice counts twice.
    Both lists are lower case and share no word. Returns None when the completion has no word of either.
    """
    ### BEGIN SOLUTION
    # canary-5e04d68c68e9eab8cde484408dc2ae67
    words = re.findall("[a-z]+", text[len(prompt) :].lower())
    n_for = sum(word in words_for for word in words)
    n_against = sum(word in words_against for word in words)
    return n_for / (n_for + n_against) if n_for + n_against else None
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "concept_score_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 01_mean_diff/concept_score  (hidden tests run here when your work is graded)

# %%
checks.check_concept_score(concept_score)

# %% [markdown]
# <details><summary>How do I cut a text into words?</summary>
#
# `re.findall("[a-z]+", text.lower())` gives every unbroken run of letters. `text.split()` leaves
# commas and full stops hanging on the words, and "great." is not in any list.
# </details>

# %% [markdown]
# A score alone can be bought. A model that writes *great great great* scores 1.0 and has stopped
# making sense. So we put a price beside it: the **fluency** of the completion. The main number is
# the *negative log-likelihood* (NLL): how surprised the **unsteered** model is by each token of the
# steered completion, on average. It is minus the natural logarithm of the probability that the model
# gave to the token, and its unit is the **nat**: one nat more means a token that is $e \approx 2.7$
# times less likely. The other is *distinct-2*, the share of word pairs that
# are not repetitions. We call a strength **usable** while the NLL rises by no more than 1 nat per
# token and distinct-2 keeps at least 0.8 of its unsteered value.
#
# ### Predict: what does a dose buy?
#
# The next cell measures the score from a strong push to the unhappy side to a strong push to the
# happy side, over all prompts. Sketch the curve that you expect: one number between 0 and 1 for
# each dose. Is it a straight line? Where does it bend, and is it the same on both sides?

# %%
print("doses:", settings.doses)

# %% tags=["predict"]
answer = [0.5 + 0.6 * dose for dose in settings.doses]  # a list: one share for each dose
sweep_prediction = predict(
    "The share of positive words at each dose, lowest dose first:",
    answer,
    key="sweep",
    at=settings.doses,
    low=0,
    high=1,
)

# %% [markdown]
# From here on the model does not take its best guess: it *draws* each token with the probability
# that it gives to it (temperature 1). Every call draws the same random numbers, so what differs
# between two doses is due to the push. But a few dozen completions are few: differences of about 0.1
# in the score mean little.
#
# The dotted line in the figure belongs to *one* vector of random direction, as long as yours and
# added at the same doses. It shows what a push does that knows nothing of moods. In Part 7 you meet
# many more of these.

# %% tags=["explore"]
from steerlab.directions import random_directions
from steerlab.evaluation import mean_fluency, usable
from steerlab.steering import generate, steer

words_for, words_against = sentiment_words("positive"), sentiment_words("negative")
n_samples = settings.batch_size // len(prompts)  # completions drawn for each prompt


def interventions(vectors, strength, layers):
    """Your hook functions, in the form that the library's `steer` takes: {hook name: function}."""

    def acting(layer):
        def intervention(resid):
            # Position 0 is spared all the same: `steer` keeps what a function returns only at its
            # own `positions`, and the default, "all", leaves position 0 and padding out.
            every_token = torch.ones(resid.shape[1], dtype=torch.bool)
            [(_, hook_fn)] = steering_hooks(vectors, strength, [layer], every_token)
            return hook_fn(resid, hook=None)

        return intervention

    return {hook_names[layer]: acting(layer) for layer in layers}


def write(vectors, dose, layers):
    """n_samples completions of each prompt, drawn at temperature 1, many at once."""
    coefficient = coefficient_for(vectors, dose, layers)
    with steer(model, interventions(vectors, coefficient, layers)):
        return generate(
            model, prompts * n_samples, max_new_tokens=settings.max_new_tokens, temperature=1.0
        )


def mean_of(values):
    """The mean of the values that are there; None if none is."""
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def mean_score(completions, words_for=words_for, words_against=words_against):
    """The mean of your scores over the completions that have one; None if none has."""
    return mean_of(
        concept_score(c.prompt, c.prompt + c.text, words_for, words_against) for c in completions
    )


one_layer = [settings.layer]
plain = write(vectors, 0.0, one_layer)
plain_score, plain_fluency = mean_score(plain), mean_fluency(model, plain)
sweep = {dose: write(vectors, dose, one_layer) for dose in settings.doses}
anywhere = {settings.layer: random_directions(1, vectors[settings.layer], seed=1)[0].to(vectors)}
random_sweep = {dose: write(anywhere, dose, one_layer) for dose in settings.doses[::2]}
costs = {dose: mean_fluency(model, completions) for dose, completions in sweep.items()}

random_scores = [mean_score(random_sweep.get(dose, [])) for dose in settings.doses]
plots.dose_sweep(
    settings.doses,
    [mean_score(sweep[dose]) for dose in settings.doses],
    [costs[dose].nll - plain_fluency.nll for dose in settings.doses],
    sweep_prediction,
    controls={"a random direction": random_scores},
    n=f"{len(plain)} completions a dose, layer {settings.layer}",
)
if sweep_prediction.filled:
    print("dose   score  NLL   distinct-2  usable")
    for dose in settings.doses:
        score, cost = mean_score(sweep[dose]), costs[dose]
        shown = "  – " if score is None else f"{score:.2f}"
        fine = usable(cost, plain_fluency)
        print(f"{dose:+.1f}   {shown}   {cost.nll:.2f}  {cost.distinct2:.2f}        {fine}")

# %% [markdown]
# Read the two panels together. The upper one says what you bought, the lower one what you paid. The
# interesting doses are those where the score has moved and the price is still low. Beyond them the
# text falls apart, and what its words "score" there means little.
#
# <details><summary>Are the two sides alike? (Open this after you have seen the figure.)</summary>
#
# Not on the embedded model. Unsteered it is rather happy, so a push to the happy side finds little
# left to win. And pushing to unhappy costs far more: compare the NLL in the first and the last row
# of the table. Distinct-2 hardly moves. It guards against another failure, text that repeats one
# phrase over and over, which this model does not show when its tokens are drawn.
# </details>

# %% [markdown]
# ### Play
#
# The explorer runs *your* functions. Move the dose, press Generate, compare. At which dose does the
# text stop being text? Is it the same for both signs?
#
# When you come across a text worth keeping, press *Copy as code*. You get the lines that write it
# again, with the prompt and the exact coefficient: paste them into a new cell, and you have something
# to change and to compare.

# %% tags=["explore"]
from steerlab.widgets import SteeringExplorer


def your_steering(prompt, coefficient):
    return steered_text(as_read(prompt), vectors, coefficient, one_layer)


SteeringExplorer(
    model,
    {"your steering": (your_steering, vectors[settings.layer], settings.hook_name)},
    words_for=words_for,
    words_against=words_against,
)

# %% [markdown]
# The same with one knob more, as a form on Colab (elsewhere: change the values, run the cell again).
# Push the prompt alone, or only what the model writes itself. Which of the two carries the mood?

# %% tags=["explore"]
# @title Your prompt, your dose, your positions
my_prompt = "The food at the new restaurant was"  # @param {type: "string"}
my_dose = 0.4  # @param {type: "slider", min: -1, max: 1, step: 0.05}
my_positions = "generated"  # @param ["all", "prompt", "generated"]

my_coefficient = coefficient_for(vectors, my_dose, one_layer)
print(steered_text(as_read(my_prompt), vectors, my_coefficient, one_layer, my_positions))

# %% [markdown]
# ## Part 7 · What could be wrong with this result?
# *25 minutes*
#
# You have a vector that moves the score. Before you believe that it "is" sentiment, ask what else
# would have looked the same.
#
# ### Would any vector have done it?
#
# Pushing a model hard in *any* direction changes its text. So we draw **control** directions, give
# each the same length as yours, and steer with them at the same dose. Two families:
#
# - **isotropic**: directions drawn at random from all of space. Easy to beat: residual streams fill
#   only a few of their dimensions, and most random directions are ones that the model does not use.
# - **shuffled labels**: take the same sentences, forget which were happy, split them at random into
#   two sets, and take the difference of means. These directions come from the same cloud of
#   sentences as yours. Only the labels are wrong. They are the harder test.
#
# Hundreds of generations would take long, so we measure something that needs one forward pass: how
# much the next word *leans*. Take the probability that it is one of the happy words, divide by the
# probability that it is one of the unhappy ones, and take the natural logarithm: these are the
# **log-odds**, in nats. At 0 both are equally likely.

# %% tags=["explore"]
from steerlab.directions import shuffled_label_directions

n_controls = 99
layer, hook_name = settings.layer, settings.hook_name
batch = tokenize(model, prompts)


def first_ids(words):
    """The token that each word begins with, after a space."""
    encoded = [model.tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in words]
    return sorted({ids[0] for ids in encoded})


ids_for, ids_against = first_ids(words_for), first_ids(words_against)
both = set(ids_for) & set(ids_against)  # beginnings that happy and unhappy words share say nothing
ids_for = [i for i in ids_for if i not in both]
ids_against = [i for i in ids_against if i not in both]


def lean(direction, dose):
    """Log-odds (nats) of a happy next word against an unhappy one, mean over the prompts."""
    at_layer = {layer: direction}
    coefficient = coefficient_for(at_layer, dose, [layer])
    with torch.no_grad(), steer(model, interventions(at_layer, coefficient, [layer])):
        logits = model(batch.tokens, attention_mask=batch.attention_mask)[:, -1].float()
    odds = logits[:, ids_for].logsumexp(-1) - logits[:, ids_against].logsumexp(-1)
    return float(odds.mean())


yours = vectors[layer]
controls = {
    "isotropic": random_directions(n_controls, yours, seed=0),
    "shuffled labels": shuffled_label_directions(
        positive_residuals[:, layer], negative_residuals[:, layer], n_controls, seed=0
    ),
}
at_rest = lean(yours, 0.0)
observed = lean(yours, settings.dose) - at_rest
effects = {
    family: [lean(direction.to(yours), settings.dose) - at_rest for direction in directions]
    for family, directions in controls.items()
}
plots.control_histogram(
    effects,
    observed,
    xlabel=f"change of the log-odds happy : unhappy at dose {settings.dose} (nats)",
    n=f"{n_controls} directions a family, {len(prompts)} prompts",
)
for family, values in effects.items():
    as_strong = sum(abs(value) >= abs(observed) for value in values)
    print(f"{family:16} rank p = {(1 + as_strong) / (1 + n_controls):.2f}")

# %% [markdown]
# The *rank p* answers: if your vector were just one more member of that family, how likely would it
# be to come out this strong, *in either direction*? Which side of a random split counts as happy is
# a matter of chance, so a direction that moves the log-odds as far the other way is as strong: the
# thin dashed line marks where those begin. With 99 controls the smallest possible value is 0.01.
#
# Look at the widths. The shuffled family spreads further than the isotropic one although every
# direction has the same length. It lives where sentences differ from each other, and by accident
# some of its splits are a little unbalanced in mood. A result that beats only isotropic noise has
# not beaten much.

# %% [markdown]
# ### Which layer, and why not all of them?
#
# The homework that this assignment grew out of steered *every* layer at once, each with its own
# vector. That is the same coefficient many times over. A fair comparison gives both the same
# **total dose**: one layer gets all of it, or all layers share it.

# %% tags=["explore"]
n_layers = settings.n_layers
single = sorted({0, n_layers // 4, n_layers // 2, (3 * n_layers) // 4, n_layers - 1})
ways = {f"layer {layer}": [layer] for layer in single} | {"all layers": list(settings.layers)}


def ends(vectors, layers):
    """The score at -dose and at +dose, and the larger of the two rises of the NLL."""
    low, high = (write(vectors, sign * settings.dose, layers) for sign in (-1, 1))
    rise = max(mean_fluency(model, texts).nll for texts in (low, high)) - plain_fluency.nll
    return (mean_score(low), mean_score(high)), f"NLL {rise:+.2f}"


measured = {name: ends(vectors, layers) for name, layers in ways.items()}
plots.both_ways(
    {name: scores for name, (scores, _) in measured.items()},
    plain_score,
    dose=settings.dose,
    n=f"{len(plain)} completions a point",
    title="One layer or all of them, at equal total dose",
    notes={name: note for name, (_, note) in measured.items()},
)

# %% [markdown]
# On the embedded model every layer but the first works at a small price, and sharing the dose among
# all of them is about as strong as the better single layers, at a similarly small price. Before
# block 0 the same dose is ruinous.
# There the stream is still the embedding of the words themselves, and a push of that size turns
# words into other words.
#
# ### Mean over the tokens, or last token?
#
# Much published work does not average over a sentence: it takes the residual stream at the *last*
# token, on the grounds that the model has read everything by then. (Contrastive activation addition
# does so, on pairs of texts that end in the answer.) Which is better here?

# %% tags=["explore"]
plus, minus = collect(model, positive, hook_name), collect(model, negative, hook_name)
last_token = plus.last_per_document(hook_name).mean(0) - minus.last_per_document(hook_name).mean(0)
pooled = {
    "mean over tokens": {settings.layer: vectors[settings.layer]},
    "last token": {settings.layer: last_token.to(vectors)},
}
measured = {
    "mean over tokens": measured.get(f"layer {settings.layer}") or ends(vectors, one_layer),
    "last token": ends(pooled["last token"], one_layer),
}
plots.both_ways(
    {name: scores for name, (scores, _) in measured.items()},
    plain_score,
    dose=settings.dose,
    n=f"{len(plain)} completions a point, layer {settings.layer}",
    title="Two ways to make one vector of a sentence",
    notes={name: note for name, (_, note) in measured.items()},
)
alike = torch.cosine_similarity(pooled["last token"][settings.layer], yours, dim=0)
print(f"cosine of the two vectors: {alike:.2f}")
print("last tokens:", sorted({model.to_str_tokens(text)[-1] for text in positive + negative}))

# %% [markdown]
# Every sentence ends in the same token, a full stop. It has no mood of its own, and on the embedded
# model its residual stream serves about as well as the mean over all words: there the model must
# already know in which mood the next sentence will begin. But that depends on what the last token
# *is*. Look at it before you trust the method.

# %% [markdown]
# ## Part 8 · Two defects to find, and one result that fails
# *20 minutes*
#
# The original homework steered with a loop that worked, gave nice examples, and had two defects in
# its hook. Both are easy to write and hard to see. (You have met a third one in Part 2: its
# averages counted BOS.)
#
# ### Defect 1: steering the newest position
#
# It added the vector at the *newest* position of each pass, and ran without a cache. Here is that
# idea with your functions. It is run twice, without a cache and with one. A cache is only a way of
# saving time: the two should write the same text.


# %% tags=["explore"]
def homework_mask(start, n_tokens, n_prompt):
    mask = torch.tensor([False] * (n_tokens - 1) + [True])  # the newest position: repair this line
    return mask


def homework_hooks_at(start, n_tokens, n_prompt):
    mask = homework_mask(start, n_tokens, n_prompt)
    return steering_hooks(vectors, coefficient, one_layer, mask)


def steered_positions(passes, n_prompt):
    """For each pass (start, n_tokens) the absolute positions that are steered in it."""
    return [
        [start + i for i in homework_mask(start, n_tokens, n_prompt).nonzero().flatten().tolist()]
        for start, n_tokens in passes
    ]


def disagreements(hooks_at):
    """For how many openings cached and uncached generation write different tokens."""
    count = 0
    for opening in openings:
        n_prompt = model.to_tokens(opening).shape[1]
        cached, uncached = (
            generate_with_hooks(
                model, opening, lambda start, n, p=n_prompt: hooks_at(start, n, p), 8, use_cache
            )
            for use_cache in (True, False)
        )
        count += cached.tolist() != uncached.tolist()
    return count


differing = disagreements(homework_hooks_at)
print(f"different with and without cache: {differing} of {len(openings)} openings")
n_prompt = model.to_tokens(openings[0]).shape[1]
uncached = [(0, n_prompt + k) for k in range(3)]
cached = [(0, n_prompt), (n_prompt, 1), (n_prompt + 1, 1)]
print(f"a prompt at positions 0 to {n_prompt - 1}; steered in passes 1, 2, 3:")
print("  without cache", *steered_positions(uncached, n_prompt))
print("  with cache   ", *steered_positions(cached, n_prompt))

# %% [markdown]
# **Find out why**, and repair the marked line so that the count becomes 0. Before you look at the
# answer: at pass 5, is the token that was newest at pass 3 steered? With the cache? Without it?
#
# A count of 0 alone does not prove the repair: a mask that is `False` everywhere gives 0 as well.
# What must hold besides is that the last position of the prompt and every position after it are
# steered, and no earlier one. Without a cache this has to be so in *every* pass. Look at the printed
# positions.
#
# <details><summary>Why do they differ?</summary>
#
# Without a cache every pass computes the whole text anew, and only its last position is steered.
# The token that was newest at pass 3 is computed *without* the push at pass 5. With a cache its
# keys and values were stored at the moment when it was newest, so later tokens keep seeing it
# *with* the push. One piece of code, two different models. No mask that depends on "newest" can
# agree with itself: what a position *is* must not change from pass to pass. Absolute positions do
# not. (The library offers `positions="newest_only"` to reproduce such experiments. It switches the
# cache off, since there is no right answer with one.)
# </details>
#
# <details><summary>What is the repair?</summary>
#
# Say which absolute positions are steered. "The newest one at some time" means: the last position
# of the prompt and everything after it, so `mask = steering_mask(start, n_tokens, n_prompt - 1,
# "generated")`: for the mask, the prompt ends one token earlier.
# </details>
#
# ### Defect 2: a push that changes the past
#
# Its hook said `resid[...] += ...` and returned `resid`. Here we steer layer `l` in that way while
# recording the stream, and then look at what block `l - 1` *put out*, which was computed before the
# hook ran.


# %% tags=["explore"]
def in_place_hook(resid, hook):
    resid[:, 1:] += coefficient * vectors[settings.layer]
    return resid


before = f"blocks.{settings.layer - 1}.hook_resid_post"
text_tokens = model.to_tokens(prompts[0])
everywhere = torch.arange(text_tokens.shape[1]) > 0
hook_fns = {
    "in place": in_place_hook,
    "yours": steering_hooks(vectors, coefficient, one_layer, everywhere)[0][1],
}
clean = model.run_with_cache(text_tokens, names_filter=before)[1][before]
for name, hook_fn in hook_fns.items():
    pair = (hook_name, hook_fn)
    with model.hooks(fwd_hooks=[pair]):
        recorded = model.run_with_cache(text_tokens, names_filter=before)[1][before]
    difference = float((recorded - clean).abs().max())
    print(f"{name:9} output of block {settings.layer - 1} seems changed by up to {difference:.3f}")

# %% [markdown]
# A push at layer `l` cannot reach block `l - 1`. But the tensor in the cache and the tensor in the
# hook are one and the same, and `+=` wrote into it. Whoever compares steered with unsteered
# activations that were recorded like this, studies an artefact.

# %% [markdown]
# ### A result that fails
#
# By now the recipe looks as if it could do anything: two piles of text, subtract, push. In large
# models a direction for *truth* has been found in this way (Marks and Tegmark 2023). Let us try.
# The embedded model adds two digits without a mistake. So take right sums and wrong sums, and
# subtract their means. The two piles hold the same questions and differ in the answers alone. If the
# vector holds truth, then pushing against it should make the model give wrong answers. (The sums
# stand between `$$`, because that is how formulas are written in all that this model has read.)
#
# Half of the sums make the vector. On the other half we ask whether it can *read*: how often does a
# right sum lie further along it than a wrong one? Then whether it can *write*: how many of all 100
# sums does the model still get right at + dose and at − dose? And, as always, what do directions
# from shuffled labels do at the same dose?

# %% tags=["explore"]
import random

dice, n_shuffled = random.Random(0), 8
sums = [(a, b) for a in range(10) for b in range(10)]
dice.shuffle(sums)


def slip(answer):
    """A wrong answer near the right one."""
    return dice.choice([x for x in range(max(0, answer - 3), answer + 4) if x != answer])


def sums_read(texts):
    return collect(model, texts, hook_name).mean_per_document(hook_name)


right_sums = sums_read([f"$$ {a} + {b} = {a + b} $$" for a, b in sums])
wrong_sums = sums_read([f"$$ {a} + {b} = {slip(a + b)} $$" for a, b in sums])
half = len(sums) // 2
truth = mean_difference(right_sums[:half, None], wrong_sums[:half, None])[0]
read_right, read_wrong = right_sums[half:] @ truth, wrong_sums[half:] @ truth
reads = (read_right[:, None] > read_wrong[None]).float().mean()

questions = [f"$$ {a} + {b} =" for a, b in sums]
question_length = collect(model, questions, hook_name).values[hook_name].norm(dim=-1).mean()


def share_right(direction, dose):
    """Share of the sums that the model answers rightly with this push."""
    strength = float(dose * question_length / direction.norm())
    pushes = interventions({settings.layer: direction.to(vectors)}, strength, one_layer)
    with steer(model, pushes):
        answers = generate(model, questions, max_new_tokens=4, batch_size=len(questions))
    found = [re.search(r"\d+", answer.text) for answer in answers]
    right = [f is not None and int(f[0]) == a + b for f, (a, b) in zip(found, sums, strict=True)]
    return sum(right) / len(right)


shuffled = shuffled_label_directions(right_sums[:half], wrong_sums[:half], n_shuffled, seed=0)
rows = {
    "truth": [share_right(truth, sign * settings.dose) for sign in (-1, 1)],
    f"shuffled labels, mean of {n_shuffled}": [
        mean_of(share_right(direction, sign * settings.dose) for direction in shuffled)
        for sign in (-1, 1)
    ],
}
plots.both_ways(
    rows,
    share_right(truth, 0.0),
    dose=settings.dose,
    n=f"{len(sums)} sums a point, layer {settings.layer}",
    title="A vector for truth?",
    xlabel="share of sums answered rightly",
)
print(f"a right sum lies further along the vector than a wrong one: {100 * reads:.0f}% of pairs")

# %% [markdown]
# It fails at both. As a *reader* it does no better than a coin. As a *writer* it costs right
# answers in both directions, and directions from shuffled labels cost more still. That is
# damage, not lying. With only the first row of the figure, and of that only the push against truth,
# it would have looked like a discovery. (Why do the shuffled directions cost more? This notebook does
# not test it. One guess: right and wrong sums share their questions, so the digits of the questions
# drop out of the truth vector, whereas a random split leaves some of them in. You can put it to the
# test: instead of shuffling all labels, swap right and wrong within pairs chosen at random.)
#
# Why does truth fail where mood worked so well? A difference of means sees only what differs *on
# average*. No token of a sum is true or false by itself. Right sums and wrong sums are made of the
# same digits, and being right lies in how they combine. For that to show up in a mean, the model
# would have to work out "this one is wrong" and carry the result along. It has no reason to: in all
# that it has read there was not one wrong sum, and nothing that it ever had to predict depended on
# it. With moods it is the other way round. The choice of almost every later word depends on the
# mood, so the model carries it along at every token. Models that have read liars and their critics
# may well carry truth. **You can only push along what the model carries.**

# %% [markdown]
# ## Part 9 · In your own words
# *20 minutes, 5 points*
#
# A friend shows you this: *"I took 20 happy and 20 angry tweets, subtracted their mean activations
# at layer 10 and added the result with coefficient 8 at all positions. On 5 prompts, 4 of the
# completions came out happy. So layer 10 of this model represents happiness as a direction."*
#
# In about 200 words: name **three** things that could make this result look better than it is, or
# mean something else than it says. For each, give the measurement or control that would show it,
# and say what outcome would change your mind. Use at least two numbers from *your own* figures
# above as evidence that the control matters. Close with one sentence: what may your friend claim,
# if all three controls turn out well?

# %% [markdown] nbgrader={"grade": true, "grade_id": "written", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# <!-- graded: 01_mean_diff/written -->
#
# ### BEGIN SOLUTION
#
# canary-5e04d68c68e9eab8cde484408dc2ae67
#
# *Three doubts.* (1) **Any push might do it.** 20 + 20 tweets give a vector that also holds
# whatever else differs between these two piles. I would steer with directions from shuffled labels
# at the same dose, at least 19 of them, and believe in the vector only if it beats them all. In my
# notebook the shuffled family reached beyond 1.5 nats, the isotropic one not even to 1. (2) **The length of
# the tweets.** If angry tweets are longer and BOS was averaged in, part of the vector is BOS. I
# would compare lengths and leave position 0 out; in my data BOS turned the vector by up to 21
# degrees when the lengths differed. (3) **The price.** Coefficient 8 is no dose. I would divide by
# the length of the stream, sweep it with both signs, and put the NLL under the unsteered model
# beside it. If −8 does not make the text angry, or the NLL rises by more than a nat, the "happy"
# words are damage. Five prompts with one completion each are also too few: 4 of 5 is compatible
# with an unsteered rate of a half.
#
# *What may be claimed:* adding this vector at layer 10, at a dose that keeps the text fluent,
# shifts the mood of this model's completions more than comparable directions do. That the model
# itself uses this direction is another claim.
#
# ### END SOLUTION

# %% [markdown] tags=["author"]
# **Rubric for the written question (5 points)**
#
# | points | for |
# |---|---|
# | 3 | one for each sound doubt *with* a control that fits it *and* an outcome that would decide. Half a point where the control is named but not what it would show. Sound doubts: no control directions (isotropic alone: half a point); no unsteered baseline; too few prompts or one completion each; dose unknown or fluency not measured; only one sign tried; BOS or length confounded; the two sets differ in topic, author or punctuation; the judge shares words with the sentences; layer chosen on the same prompts; positions unspecified. |
# | 1 | two numbers from the student's own figures, quoted with what they are (a bare number: half) |
# | 1 | a last sentence that claims an effect of an intervention and not a representation; "the model uses this direction" earns 0 here |
#
# An answer that lists more than three is graded on its best three. Do not grade style or length.

# %% [markdown]
# ## Bonus
# *no points*
#
# 1. **Contrast in pairs.** Rimsky et al. (2024) do not compare two piles of sentences: they compare
#    pairs of texts that are alike but for the answer at their end, at the token of that answer.
#    Write ten such pairs, take the mean of the differences, and compare with your vector at equal
#    dose. (`steerlab.directions.contrastive_pairs` does the collecting; `persona_direction` is a
#    third variant, from two invented personas who say the same things.)
# 2. **How few sentences are enough?** Compute the vector from 1, 2, 4, 8, … sentences a side,
#    several times each, and plot the cosine with the vector from all of them. Then plot the
#    *effect*. Do they level off at the same place?
# 3. **Steer and un-steer.** Add the vector at one layer and subtract it at the next. Is the text
#    back to where it was? Should it be?
#
# ## What to keep
#
# - The residual stream is a running sum, one vector for each token. A steering vector is a
#   difference of two means of it.
# - Position 0 is not part of the text. It does not cancel, unless lengths happen to agree.
# - Say *where* you steer in absolute positions. "Newest" is not a place.
# - A coefficient is a number, a dose is a quantity. Compare at equal dose, and put the price beside
#   the effect.
# - Beating isotropic noise is easy. Shuffle the labels.
#
# **Sources.** Turner et al. 2023, *Activation Addition: Steering Language Models Without
# Optimization*. Rimsky et al. 2024, *Steering Llama 2 via Contrastive Activation Addition*. Zou et
# al. 2023, *Representation Engineering*. Marks and Tegmark 2023, *The Geometry of Truth*. Xiao et
# al. 2023, *Efficient Streaming Language Models with Attention Sinks*.
