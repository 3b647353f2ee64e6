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
# # 03 · Clamping features of a sparse autoencoder
#
# In May 2024 a language model could, for a day, hardly talk about anything but the Golden Gate
# Bridge. Asked for a love story it wrote one about a car that longs to cross the bridge. Nobody had
# trained it to. Somebody had found, among millions of *features* that a sparse autoencoder had
# picked out of the model's residual stream, one that was active wherever a text mentioned the
# bridge, and had held it at a high value while the model wrote (Templeton et al. 2024).
#
# You are going to do the same to a small model, with the ocean in the place of the bridge. In
# notebook 01 you had to know what you were looking for: you collected happy and unhappy sentences
# and subtracted. Here the directions are already there. A dictionary of a thousand of them was
# learned without a single label, and the work is to find the right one, to hold it without breaking
# everything around it, and to tell what *it* does from what any push of that size would do.
#
# **Afterwards you can**
#
# - read a sparse autoencoder of the kind that is published for large models, and say what each of
#   its tensors is for;
# - clamp features without losing what the autoencoder cannot express;
# - do so at the price of one row of the dictionary where the textbook pays for all of them;
# - find the feature for a concept, and say how sure you are on documents that did not choose it;
# - choose a strength in a unit that means the same for every feature, and see where it breaks;
# - compare with three families of controls, and say what a clamp does *not* show.
#
# **You need** PyTorch, and from notebook 02 what a sparse autoencoder is (Part 1 says it again in
# two paragraphs). From notebook 01 you need three things: the *residual stream*, one vector for each
# token, which every block reads and adds to; a *hook point*, a named place where it can be looked at
# or replaced; and the habit of comparing at equal *dose*.
#
# | part | | minutes | points |
# |---|---|---|---|
# | 1 | A dictionary for the residual stream | 20 | 2 |
# | 2 | The clamp, as the textbook has it | 20 | 3 |
# | 3 | The same for the price of one row | 25 | 3 |
# | 4 | Which feature is it? | 25 | 3 |
# | 5 | From a step to an intervention | 25 | 4 |
# | 6 | How much is enough, how much is too much? | 20 | – |
# | 7 | What could be wrong with this result? | 20 | – |
# | 8 | Why sparse? | 15 | – |
# | 9 | A defect to find, and a result that fails | 20 | – |
# | 10 | In your own words | 20 | 5 |
#
# **How to work.** As in the notebooks before: replace the line that raises an error, run the check
# below it, read what it says. Checks give no points; the points come from other inputs. A figure that
# asks for a prediction waits until you have committed to one.
#
# **If a function will not come right**, go on and come back later. The cells that need
# `jumprelu_encode`, `find_feature`, `clamp_step`, `clamp_reference` or `make_intervention` have a
# way round them, in comments. The two functions of Part 2 are needed in Parts 2 and 3 alone.

# %% tags=["install"]
# install steerlab

# %%
MODEL = "tiny"  # @param ["tiny", "gpt2", "gemma-2-2b", "gemma-2-2b-it", "qwen3-4b", "olmo-2-7b"] {allow-input: true}

# %%
import time
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from steerlab import checks, course_settings, load_model, plots
from steerlab.predict import predict
from torch import Tensor

model = load_model(MODEL)  # together with the imports this takes about 15 seconds
settings = course_settings(model)

# %% [markdown]
# ## Part 1 · A dictionary for the residual stream
# *20 minutes, 2 points*
#
# The residual stream of the embedded model has 128 numbers for each token. No single one of them
# means anything; but certain *directions* do, and there seem to be many more of them than 128. Only a
# few are in use at a time, so they can share the space, as long as somebody can tell which few it
# are (Elhage et al. 2022 call this *superposition*).
#
# A **sparse autoencoder** (SAE) tries to be that somebody. Its *encoder* reads the stream $x$ of one
# token and says how active each of its many **features** is, most of them not at all. Its *decoder*
# holds one direction for each feature, and rebuilds the stream as the sum of the active ones:
#
# $$f(x) = \sigma\left(x\, W_{\text{enc}} + b_{\text{enc}}\right), \qquad
#   \hat x = f(x)\, W_{\text{dec}} + b_{\text{dec}}.$$
#
# The rows of $W_{\text{dec}}$ are the dictionary. ($x$ is a row vector here, as in PyTorch.) What
# makes the code sparse is the function $\sigma$. A ReLU would do, but it has a weakness: a feature
# that shall stay silent on all small inputs needs a negative bias, and the same bias then makes it too
# weak where it does speak. **JumpReLU** (Rajamanoharan et al. 2024) gives each feature $i$ a threshold
# $\theta_i \ge 0$ and separates the two questions, *whether* and *how much*:
#
# $$\sigma(z)_i = \begin{cases} z_i & \text{if } z_i > \theta_i \\ 0 & \text{otherwise.}\end{cases}$$
#
# With $\theta_i = 0$ that is the ReLU again. The SAEs of Gemma Scope are made like this, and so is
# the one that ships with this course.
#
# In the code below an SAE is nothing but five tensors in a dictionary. (Some SAEs subtract
# $b_{\text{dec}}$ from $x$ before they encode. Since $(x - b_{\text{dec}})\, W_{\text{enc}} +
# b_{\text{enc}} = x\, W_{\text{enc}} + (b_{\text{enc}} - b_{\text{dec}} W_{\text{enc}})$, that is one
# more bias, and it has been added into `b_enc` for you.)

# %% tags=["explore"]
from steerlab.activations import collect
from steerlab.data import TOPICS, topic_words
from steerlab.data import generate as generate_documents
from steerlab.sae import Recipe, load_sae, train_sae

documents = [d for d in generate_documents(1300, seed=31) if d.topic is not None]
texts, topics = [d.text for d in documents], [d.topic for d in documents]

if settings.sae is not None:
    autoencoder = load_sae(settings.sae, model)
else:  # no autoencoder is known for this model: a small one is trained on the spot
    recipe = Recipe("jumprelu", d_sae=4 * model.cfg.d_model, steps=150)
    rows = collect(model, texts, settings.hook_name).values[settings.hook_name]
    autoencoder = train_sae(rows, recipe, hook_name=settings.hook_name).sae
hook_name = autoencoder.hook_name


def five_tensors(autoencoder):
    """The weights of an SAE as plain tensors; what is taken off the input is folded into b_enc."""
    bias, threshold = autoencoder.b_enc, autoencoder.threshold
    if autoencoder.apply_b_dec_to_input:
        bias = bias - autoencoder.b_dec @ autoencoder.W_enc
    return {
        "W_enc": autoencoder.W_enc.detach(),
        "b_enc": bias.detach(),
        "threshold": torch.zeros_like(bias) if threshold is None else threshold.detach(),
        "W_dec": autoencoder.W_dec.detach(),
        "b_dec": autoencoder.b_dec.detach(),
    }


sae = five_tensors(autoencoder)
seen = collect(model, texts, hook_name)  # every token of every document, position 0 left out
stream = seen.values[hook_name]
# What the SAE reads of the first tokens: for many SAEs the stream as it is, else normalised.
x = autoencoder.read(stream[:2000].to(sae["W_enc"]))[0]

print(f"at {hook_name}: {len(stream):,} tokens of {len(texts)} documents")
for part in sae:
    print(f"  {part:10}{list(sae[part].shape)}")


# %% nbgrader={"grade": false, "grade_id": "jumprelu_encode", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 03_sae_clamping/jumprelu_encode
def jumprelu_encode(
    x: Float[Tensor, "*batch d_model"], sae: dict[str, Tensor]
) -> Float[Tensor, "*batch d_sae"]:
    """Feature activations f(x) of a JumpReLU autoencoder.

    With z = x @ W_enc + b_enc, entry i is z_i where z_i is greater than threshold_i, and 0 elsewhere.
    sae holds W_enc [d_model, d_sae], b_enc [d_sae] and threshold [d_sae], which is 0 or more (and
    W_dec and b_dec, which are not needed here).
    """
    ### BEGIN SOLUTION
    # canary-2a401911fbd690c2a961111e5ad6406c
    z = x @ sae["W_enc"] + sae["b_enc"]
    return z * (z > sae["threshold"])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "jumprelu_encode_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 03_sae_clamping/jumprelu_encode  (hidden tests run here when your work is graded)

# %%
checks.check_jumprelu_encode(jumprelu_encode)

# %% [markdown]
# <details><summary>How do I switch entries off without an <code>if</code>?</summary>
#
# `a > b` compares two tensors entry by entry and gives a tensor of `True` and `False`. In a product
# these count as 1 and 0. (`torch.where(condition, a, b)` works as well.)
# </details>
#
# <details><summary>Why not <code>relu(z - threshold)</code>?</summary>
#
# Because that is the ReLU with a bias once more, weakness included. An activation of 3.0 with a
# threshold of 1.0 would come out as 2.0, and so would the reconstruction: too short, at every token,
# for every feature. The threshold decides whether a feature speaks. It takes nothing off its voice.
# </details>

# %% tags=["explore"]
# Not finished yet? Take the `#` away from these lines and go on; come back later.
# from steerlab.sae import SAE
# def jumprelu_encode(x, sae):
#     none = torch.zeros_like(sae["W_enc"].T), torch.zeros_like(sae["W_enc"][:, 0])
#     options = {"activation": "jumprelu", "threshold": sae["threshold"]}
#     return SAE(sae["W_enc"], sae["b_enc"], *none, **options).encode(x)

features = jumprelu_encode(x, sae)
active = (features > 0).sum(dim=-1).float()
print(f"of {features.shape[-1]:,} features a token has {active.mean():.1f} active on average\n")

shown = next(i for i, d in enumerate(documents[:20]) if d.register == "haiku")
for position in (seen.document == shown).nonzero().flatten()[:14].tolist():
    strongest = features[position].topk(3)
    says = "  ".join(
        f"{i}: {value:.1f}"
        for i, value in zip(strongest.indices.tolist(), strongest.values.tolist(), strict=True)
        if value > 0
    )
    token = model.tokenizer.decode([seen.tokens[position]])
    print(f"{token!r:14} feature: activation   {says}")

# %% [markdown]
# Numbers, not names: an SAE is trained without labels, and its features have none. In Part 4 you
# find out what some of them stand for. First we make sure that we can hold one.

# %% [markdown]
# ## Part 2 · The clamp, as the textbook has it
# *20 minutes, 3 points*
#
# To **clamp** feature $i$ means: at every token, set its activation to a fixed value $\alpha$,
# whatever it was, and let the model go on from there. In four steps (Templeton et al. 2024):
#
# 1. encode: $f = f(x)$;
# 2. set: $f'_i = \alpha$ and $f'_j = f_j$ for all others;
# 3. decode: $f' W_{\text{dec}} + b_{\text{dec}}$;
# 4. add back the **error term** $e = x - \hat x$, what the SAE cannot express.
#
# $$x' = f' W_{\text{dec}} + b_{\text{dec}} + e .$$
#
# Is the fourth step worth the trouble? The embedded model's SAE explains nearly all of the variance.
#
# ### Predict: how long is the error?
#
# The *fraction of variance unexplained* (FVU) compares squared lengths: the sum of $\lVert x - \hat x
# \rVert^2$ over all tokens, divided by that of $\lVert x - \bar x \rVert^2$, where $\bar x$ is the
# mean of the stream. The SAE of the embedded model has an FVU of about 0.04. It leaves 4% of the
# variance. How long is $e$ then, in percent of the length of $x - \bar x$? Both lengths are averaged
# over the tokens.

# %% tags=["predict"]
answer = 4  # percent
error_prediction = predict(
    "Average length of the error term, in percent of the average length of x − mean:",
    answer,
    key="error",
    unit="%",
    low=0,
    high=100,
)


# %% nbgrader={"grade": false, "grade_id": "error_term", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 03_sae_clamping/error_term
def error_term(
    x: Float[Tensor, "*batch d_model"],
    features: Float[Tensor, "*batch d_sae"],
    sae: dict[str, Tensor],
) -> Float[Tensor, "*batch d_model"]:
    """What the reconstruction lacks: x minus the decoded features.

    The reconstruction is features @ W_dec + b_dec, with W_dec [d_sae, d_model] and b_dec [d_model].
    """
    ### BEGIN SOLUTION
    # canary-2a401911fbd690c2a961111e5ad6406c
    return x - (features @ sae["W_dec"] + sae["b_dec"])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "error_term_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 03_sae_clamping/error_term  (hidden tests run here when your work is graded)

# %%
checks.check_error_term(error_term)


# %% nbgrader={"grade": false, "grade_id": "clamp_and_decode", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 03_sae_clamping/clamp_and_decode
def clamp_and_decode(
    features: Float[Tensor, "*batch d_sae"],
    error: Float[Tensor, "*batch d_model"],
    sae: dict[str, Tensor],
    values: dict[int, float],
) -> Float[Tensor, "*batch d_model"]:
    """Set some features, decode, add the error term.

    values: {feature: activation}, one or several. At every token each of these features gets its
    activation, whatever it was before; all other features stay. `features` itself is not changed.
    """
    ### BEGIN SOLUTION
    # canary-2a401911fbd690c2a961111e5ad6406c
    clamped = features.clone()
    for feature, value in values.items():
        clamped[..., feature] = value
    return clamped @ sae["W_dec"] + sae["b_dec"] + error
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "clamp_and_decode_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 03_sae_clamping/clamp_and_decode  (hidden tests run here when your work is graded)

# %%
checks.check_clamp_and_decode(clamp_and_decode)

# %% [markdown]
# <details><summary>How do I set one feature for all tokens, whatever the shape?</summary>
#
# Three dots stand for all dimensions that you do not name: `t[..., i]` is entry `i` of the last
# dimension, at every token of every batch row. It can be assigned to.
# </details>
#
# <details><summary>Why must <code>features</code> stay as it is?</summary>
#
# Because somebody else may hold it. In step 4 the error belongs to the *unchanged* features. If you
# write into them first and compute the error afterwards, the clamp cancels itself without a trace:
# $f' W_{\text{dec}} + b_{\text{dec}} + (x - f' W_{\text{dec}} - b_{\text{dec}}) = x$. `clone()` makes
# a copy.
# </details>

# %% tags=["explore"]
error = error_term(x, features, sae)
spread = x - x.mean(dim=0)
percent = 100 * float(error.norm(dim=-1).mean() / spread.norm(dim=-1).mean())
unexplained = float(error.square().sum() / spread.square().sum())

if error_prediction.filled:
    print(f"n = {len(x):,} tokens, computed now: FVU {unexplained:.3f}")
    print(error_prediction.beside(percent))
else:
    print(error_prediction.waiting())

# %% [markdown]
# <details><summary>Where does the difference come from? (Open this after you have seen the number.)</summary>
#
# Variance counts *squared* lengths, and a push is felt by its length: the square root of 0.04 is
# 0.2. A dictionary that "explains 96%" leaves out a vector a fifth as long as everything that
# distinguishes one token from another. That is as large as a noticeable dose of steering. Whoever
# drops the error term steers in a direction that nobody chose, at every token, even with no feature
# clamped at all. In large models FVUs of 0.1 to 0.3 are common.
# </details>

# %% [markdown]
# ## Part 3 · The same for the price of one row
# *25 minutes, 3 points*
#
# The textbook form is easy to believe and expensive to run. For one token it multiplies with
# $W_{\text{enc}}$ and twice with $W_{\text{dec}}$: for the SAE that the original homework used on
# Gemma 2, with 65,536 features of 2304 numbers, that is 450 million multiplications, to change *one*
# activation. Write down what comes out, and most of it goes away. With $\hat x = f W_{\text{dec}} +
# b_{\text{dec}}$,
#
# $$x' = f' W_{\text{dec}} + b_{\text{dec}} + x - f W_{\text{dec}} - b_{\text{dec}}
#      = x + (f' - f)\, W_{\text{dec}} .$$
#
# The bias is gone, and so is the error term: it is *in* $x$, which is never taken apart. And
# $f' - f$ is zero except where we clamp:
#
# $$\boxed{\;x' = x + \sum_{i} \bigl(\alpha_i - f_i(x)\bigr)\, W_{\text{dec},i}\;}$$
#
# The sum runs over the clamped features alone. Of the encoder we need $f_i(x)$ for these features,
# and each is one column of $W_{\text{enc}}$, one bias, one threshold. (Here it matters that JumpReLU
# looks at every feature by itself. In a TopK autoencoder, whether a feature is on depends on all the
# others, and the encoder has to be computed whole.)
#
# Notice what the boxed formula says. A clamp is a steering vector, the feature's decoder row, with a
# coefficient *that depends on the token*: large where the feature is silent, zero where it stands at
# $\alpha$ already, negative where it is above.


# %% nbgrader={"grade": false, "grade_id": "clamp_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 03_sae_clamping/clamp_step
def clamp_step(
    x: Float[Tensor, "*batch d_model"], sae: dict[str, Tensor], values: dict[int, float]
) -> Float[Tensor, "*batch d_model"]:
    """What clamping adds to x: the sum over the clamped features of (α_i - f_i(x)) * W_dec[i].

    values: {feature: α}, one or several, in any order. Uses nothing of the other features: their
    columns of W_enc, thresholds, biases and rows of W_dec make no difference, and neither does b_dec.
    """
    ### BEGIN SOLUTION
    # canary-2a401911fbd690c2a961111e5ad6406c
    chosen = list(values)
    z = x @ sae["W_enc"][:, chosen] + sae["b_enc"][chosen]
    now = z * (z > sae["threshold"][chosen])
    wanted = torch.tensor([values[feature] for feature in chosen]).to(now)
    return (wanted - now) @ sae["W_dec"][chosen]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "clamp_step_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 03_sae_clamping/clamp_step  (hidden tests run here when your work is graded)

# %%
checks.check_clamp_step(clamp_step)

# %% [markdown]
# <details><summary>How do I take several columns at once?</summary>
#
# A list of numbers is an index: with `chosen = [7, 3]`, `W[:, chosen]` holds columns 7 and 3, in that
# order, and `b[chosen]` their biases. Keep the same order for the values. Then the whole sum is one
# matrix product, `[..., n_chosen] @ [n_chosen, d_model]`.
# </details>
#
# <details><summary>May I call <code>jumprelu_encode</code> and pick from its result?</summary>
#
# The numbers would be right and nothing would be saved. But `jumprelu_encode` asks for nothing but
# `W_enc`, `b_enc` and `threshold`: give it a smaller dictionary, with the chosen columns only.
# </details>
#
# <details><summary>Why does <code>torch.tensor(...)</code> make trouble on a GPU?</summary>
#
# It makes a tensor on the CPU. `.to(other)` gives it the device and dtype of the tensor `other`.
# </details>

# %% [markdown]
# The formula says that both forms are equal. Do your functions agree? A proof and a program are two
# things, so we ask both: for one feature and for three, with values above and below what is there.

# %% tags=["explore"]
for values in ({5: 2.0}, {5: 0.0}, {1: 3.0, 5: 0.5, 8: 1.0}):
    textbook = clamp_and_decode(features, error, sae, values)
    short = x + clamp_step(x, sae, values)
    gap = float((textbook - short).abs().max())
    print(f"{values!s:26} largest difference {gap:.1e}, largest entry {float(x.abs().max()):.1f}")

# %% [markdown]
# ### Predict: how much faster?
#
# Count multiplications for one token and one clamped feature, with 65,536 features: three products
# with the whole dictionary on one side, one column and one row on the other. That is a factor of
# about 100,000. Now the question: by what factor is your step *faster*, measured in microseconds, on
# this machine?

# %% tags=["predict"]
answer = 100_000
speed_prediction = predict(
    "With 65,536 features your step is faster than the textbook form by a factor of …",
    answer,
    key="speed",
    low=1,
    high=1_000_000,
)

# %% tags=["explore"]
widths = [1024, 4096, 16_384, 65_536]


def random_sae(d_sae, d_model=model.cfg.d_model):
    """Random weights of any width: for timing, what they mean makes no difference."""
    return {
        "W_enc": torch.randn(d_model, d_sae),
        "b_enc": torch.zeros(d_sae),
        "threshold": torch.full((d_sae,), 20.0),
        "W_dec": torch.randn(d_sae, d_model),
        "b_dec": torch.zeros(d_model),
    }


def seconds(function, repeats):
    """Median time of one call."""
    function()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[repeats // 2]


one_token, one_value = torch.randn(1, 1, model.cfg.d_model), {5: 2.0}
long_way, short_way = [], []
for width in widths:
    wide = random_sae(width)

    def textbook_form(wide=wide):
        code = jumprelu_encode(one_token, wide)
        return clamp_and_decode(code, error_term(one_token, code, wide), wide, one_value)

    long_way.append(seconds(textbook_form, 15))
    short_way.append(seconds(lambda wide=wide: clamp_step(one_token, wide, one_value), 45))

plots.form_cost(
    widths,
    long_way,
    short_way,
    speed_prediction,
    n=f"median of 15 and 45 calls, d_model {model.cfg.d_model}, one token, CPU",
)
if speed_prediction.filled:
    print(speed_prediction.beside(long_way[-1] / short_way[-1]))

# %% [markdown]
# <details><summary>Where have the rest of the hundred thousand gone? (Open this after you have seen the figure.)</summary>
#
# Into calling PyTorch. Each operation costs some microseconds before it multiplies anything, and your
# step consists of about ten. That is the flat line: it has reached the floor. The gain that counts is
# another one: the steep line grows with the dictionary and the flat one does not. Generating a token
# takes a large model some tens of milliseconds. On that scale the flat line is invisible, and a
# textbook clamp of a wide dictionary is not. (`python -m benchmarks.clamp` in the course's repository
# measures it while a model writes.)
# </details>

# %% [markdown]
# ## Part 4 · Which feature is it?
# *25 minutes, 3 points*
#
# Somewhere among the features may be one for the ocean. To find it we need documents of which we know
# what they are about, and a number that says how well a feature tells those about the ocean from the
# rest.
#
# The number that we use is the **AUROC** (area under the ROC curve). Pick a document about the ocean
# and one about something else, at random: how often has the first the higher score? 1 means always,
# 0.5 is a coin. Unlike a difference of means it does not care how large the scores are, so that one
# document that shouts cannot decide. Where both documents have the *same* score, the pair counts
# half. That sounds like a footnote and is not: the features are sparse, most of them are at exactly
# 0 on most documents, and most pairs tie.
#
# $$\text{AUROC} = \frac{1}{N_+ N_-} \sum_{s \in +} \sum_{t \in -}
#   \left[\, s > t \,\right] + \tfrac12 \left[\, s = t \,\right].$$
#
# The score of a document is the mean activation of the feature over its tokens.
#
# One more trap. Among a thousand features some will tell the ocean from the rest *by accident*, on
# the documents at hand. The best of a thousand is always partly lucky. So the documents are split into
# two halves. One half chooses the feature. The other half, which had no say, judges it.


# %% nbgrader={"grade": false, "grade_id": "find_feature", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 03_sae_clamping/find_feature
def find_feature(
    choose_scores: Float[Tensor, "n_choose d_sae"],
    choose_labels: Bool[Tensor, "n_choose"],
    judge_scores: Float[Tensor, "n_judge d_sae"],
    judge_labels: Bool[Tensor, "n_judge"],
) -> tuple[int, float]:
    """(feature, AUROC): the feature for a concept, and how good it is.

    Scores hold one row for each document and one column for each feature; labels are True for the documents
    of the concept. The feature is the one with the highest AUROC on the choosing half. The number
    returned is the AUROC of that feature on the judging half. Ties between documents count half.
    """

    ### BEGIN SOLUTION
    # canary-2a401911fbd690c2a961111e5ad6406c
    def area(scores, labels):
        wins, others = torch.zeros(scores.shape[1]), scores[~labels]
        # One document against all others at a time: no table [n, m, d_sae] in memory.
        for score in scores[labels]:
            wins += (score > others).sum(dim=0) + (score == others).sum(dim=0) / 2
        return wins / (labels.sum() * len(others))

    feature = int(area(choose_scores, choose_labels).argmax())
    return feature, float(area(judge_scores[:, [feature]], judge_labels))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "find_feature_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 03_sae_clamping/find_feature  (hidden tests run here when your work is graded)

# %%
checks.check_find_feature(find_feature)

# %% [markdown]
# <details><summary>How do I compare all pairs without two loops?</summary>
#
# For one feature: `a[:, None] > b[None, :]` compares every entry of `a` with every entry of `b`, and the
# mean of that table is the share of wins. For all features at once the table has a third dimension and
# may not fit into memory: loop over the documents of the concept, and compare each with all others.
# </details>
#
# <details><summary>Is there a faster way?</summary>
#
# Yes: sort the scores, and add up the *ranks* of the documents of the concept. Tied documents share the
# mean of their ranks (`scipy.stats.rankdata` does that). Subtract the smallest sum that is possible,
# divide by the number of pairs, and you have the AUROC: this is the statistic U of Mann and Whitney.
# </details>

# %% tags=["explore"]
# Not finished yet? Take the `#` away from these lines and go on; come back later.
# from steerlab.sae import match_concepts
# def find_feature(choose_scores, choose_labels, judge_scores, judge_labels):
#     names = [[str(bool(i)) for i in labels] for labels in (choose_labels, judge_labels)]
#     match = match_concepts(choose_scores, names[0], judge_scores, names[1], concepts=["True"])[0]
#     return match.feature, match.held_out


def document_means(score):
    """Mean over the tokens of each document of `score(some rows of the stream)`."""
    sums = 0
    for rows, document in zip(stream.split(2000), seen.document.split(2000), strict=True):
        scored = score(rows).float().cpu()
        sums = sums + torch.zeros(len(texts), scored.shape[1]).index_add_(0, document, scored)
    return sums / torch.bincount(seen.document)[:, None]


def your_features(rows):
    return jumprelu_encode(autoencoder.read(rows.to(sae["W_enc"]))[0], sae)


half = len(texts) // 2
labels = {topic: torch.tensor([t == topic for t in topics]) for topic in TOPICS}


def find_all(means):
    """Your function for every topic, the first half of the documents choosing, the second judging."""
    return {
        topic: find_feature(means[:half], about[:half], means[half:], about[half:])
        for topic, about in labels.items()
    }


found = find_all(document_means(your_features))
print("topic       feature   AUROC on the judging half")
for topic, (feature, quality) in found.items():
    print(f"{topic:12}{feature:6}   {quality:.3f}")

# %% [markdown]
# A number near 1 for (nearly) every topic. Is that the merit of the autoencoder? "Features found" is
# an empty boast without the same number for something simpler. So the same search, with the same
# function, over three other sets of scores: the raw coordinates of the residual stream, its principal
# components, and an SAE of the same width that was *never trained*. (A coordinate has no preferred
# sign, so it takes part twice, once as it is and once negated.)

# %% tags=["explore"]
from steerlab.sae import baselines

candidates = {"features": [quality for _, quality in found.values()]}
for name, (score, both_signs) in baselines(stream, autoencoder).items():
    means = document_means(score or (lambda rows: rows))
    means = torch.cat([means, -means], dim=1) if both_signs else means
    candidates[name] = [quality for _, quality in find_all(means).values()]
plots.feature_quality(
    candidates, n=f"{half} documents choose, {len(texts) - half} judge, {len(TOPICS)} topics"
)

# %% [markdown]
# What does the ocean feature look at? Read its *card*: the tokens on which it is most active, one a
# document, and below them one token from each quarter of its activations. The top lines flatter every
# feature. Look at the lower ones, too: there you see what it does on an ordinary day.

# %% tags=["explore"]
from IPython.display import HTML, display
from steerlab.sae import context_card, contexts, load_labels

topic = "ocean"
chosen, quality = found[topic]
label = load_labels(settings.sae)[chosen] if settings.name == "tiny" else None
place = contexts(seen, hook_name, autoencoder, chosen, model.tokenizer, n=5)
display(HTML(context_card(place, label)))
if label is not None:
    print(f"the label that ships with this SAE: {label.concept}, detection {label.detection:.2f}")
    print("the tokens with the largest activations in sum:", *label.tokens)

# %% [markdown]
# (The original notebook came with labels that a large language model had written after reading such
# cards. "Keep in mind that mismatches between features and labels may occur", its author warned. A
# label is a guess about a feature, and the detection score says how good a guess it is.)

# %% [markdown]
# ## Part 5 · From a step to an intervention
# *25 minutes, 4 points*
#
# ### How strong is strong?
#
# To clamp a feature *high*: how high is that? 5 may be a whisper for one feature and unheard-of for
# another. We need a reference for each feature: how active does it get when it means it?
#
# The maximum suggests itself, and it is a bad choice: it is set by a single token, and grows with
# the number of tokens that you look at. Take the **99.9th percentile of the non-zero activations**.
# *Non-zero*, because the feature is silent on most tokens; the percentile over all tokens of a rare
# feature is simply 0.


# %% nbgrader={"grade": false, "grade_id": "clamp_reference", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 03_sae_clamping/clamp_reference
def clamp_reference(activations: Float[Tensor, "token"]) -> float:
    """The 99.9th percentile of a feature's non-zero activations; 0.0 if it never fires.

    Activations are 0 or positive.
    """
    ### BEGIN SOLUTION
    # canary-2a401911fbd690c2a961111e5ad6406c
    firing = activations[activations > 0]
    return float(torch.quantile(firing, 0.999)) if len(firing) else 0.0
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "clamp_reference_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 03_sae_clamping/clamp_reference  (hidden tests run here when your work is graded)

# %%
checks.check_clamp_reference(clamp_reference)

# %% [markdown]
# ### The intervention
#
# To steer, the model has to run with the step in its residual stream. In notebook 01 you wrote hooks
# with masks. The library does the masking from here on: `with steer(model, {hook_name: f}):` calls
# your *intervention* `f` with the stream `[batch, pos, d_model]`, keeps what it returns at all positions
# but 0, and leaves no hook behind. What remains is `f` itself. Three things can go wrong in it:
#
# 1. **In place.** The stream belongs to others, too. Return a new tensor.
# 2. **Precision.** On a GPU the stream is often float16. $\alpha - f$ is a difference of two numbers
#    that can be close, and it should be taken in float32; the result goes back into the stream's
#    dtype, once, at the end.
# 3. **The SAE may not read the stream as it is.** Many SAEs are trained on *normalised* input: each
#    token's vector is centred and divided by its own size first. What the SAE reads, $x_{\text{in}}$,
#    and the stream, $x$, are then related by
#
# $$x = s \cdot x_{\text{in}} + m,$$
#
# with a scale $s$ and a shift $m$ for each token. The SAE says how far $x_{\text{in}}$ is to move. How
# far does $x$ have to move? Put $x_{\text{in}} + \delta$ into the formula before you read on.
#
# Your function is given two functions: `read(x)` returns `(x_in, scale)`, and `step(x_in)` returns the
# step that `x_in` should make. For an SAE that reads the stream as it is, `scale` is the number 1.0.


# %% nbgrader={"grade": false, "grade_id": "make_intervention", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 03_sae_clamping/make_intervention
def make_intervention(
    step: Callable[[Tensor], Tensor], read: Callable[[Tensor], tuple[Tensor, Tensor | float]]
) -> Callable[[Float[Tensor, "batch pos d_model"]], Float[Tensor, "batch pos d_model"]]:
    """A function resid -> resid that makes the step in the residual stream.

    read(x) -> (x_in, scale): what the autoencoder reads of a residual x [batch, pos, d_model], where x is
    scale * x_in plus something that no step changes; scale is a float or a tensor [batch, pos, 1].
    step(x_in) -> the step of x_in, with the shape of x_in.

    The function that is returned takes resid [batch, pos, d_model] of any float dtype and leaves it
    as it is; it returns a new tensor of the same shape, dtype and device. It calls read and step with
    float32 (or float64) tensors only.
    """
    ### BEGIN SOLUTION
    # canary-2a401911fbd690c2a961111e5ad6406c

    def intervention(resid):
        x_in, scale = read(resid.float())
        return resid + (scale * step(x_in)).to(resid.dtype)

    return intervention
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "make_intervention_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 03_sae_clamping/make_intervention  (hidden tests run here when your work is graded)

# %%
checks.check_make_intervention(make_intervention)

# %% [markdown]
# <details><summary>What happens to the shift <code>m</code>?</summary>
#
# Nothing. It is the same before and after, like the error term in Part 3, as long as you *add to* the
# stream and do not build it anew.
# </details>
#
# <details><summary>Which dtype goes where?</summary>
#
# `resid.float()` is a float32 copy (or `resid` itself, if it is float32 already). Give that to `read`.
# Convert what you add with `.to(resid.dtype)`, and add it to `resid`.
# </details>

# %% [markdown]
# Your four functions make a clamp. Is it still the textbook's, when the SAE normalises its input? The
# next cell takes the weights of our SAE and pretends that they read normalised tokens, in two common
# ways, and compares. (`steerlab.sae.SAE` knows how to encode and decode under each of them.)


# %% tags=["explore"]
def clamp(values, autoencoder=autoencoder, sae=sae):
    """The intervention that clamps features, made of your functions."""
    return make_intervention(
        lambda x_in: clamp_step(x_in, sae, values), lambda x: autoencoder.read(x)[:2]
    )


# Part 3 or the function above not finished? Take the `#` away from these lines; come back later.
# from steerlab.sae import ClampFeatures
# def clamp(values, autoencoder=autoencoder, sae=sae):
#     return ClampFeatures(autoencoder, values)

some = stream[:200][None].to(sae["W_enc"])
for kind in ("none", "layer_norm", "constant_norm_rescale"):
    other = autoencoder.like(normalisation=kind, centred=False)
    code = other.encode(some)
    rest = some - other.decode(code, some)
    code[..., chosen] = 3.0
    textbook = other.decode(code, some) + rest
    yours = clamp({chosen: 3.0}, other, five_tensors(other))(some)
    moved, gap = (textbook - some).norm(dim=-1).mean(), (textbook - yours).norm(dim=-1).mean()
    print(f"{kind:22} textbook moves a token by {moved:6.2f}, yours ends {gap:.5f} away from it")

# %% [markdown]
# ### The ocean at last
#
# The prompt is the one of the original notebook: it asks for a haiku and names no topic. The clamp is
# set at three strengths, as shares of the reference. What it adds up to is printed as a **dose**: the
# length of the step, divided by the length of the stream, on average over the tokens of the prompt
# but position 0. A dose of 0.5 pushes half as hard as the stream is long.

# %% tags=["explore"]
from steerlab.evaluation import mean_fluency, on_topic, usable
from steerlab.steering import dose_of, generate, steer

# clamp_reference not finished? Take the `#` away from this rough stand-in; come back later.
# clamp_reference = lambda activations: float(activations.max())

prompt = settings.haiku
of_topic = {topic: feature for topic, (feature, _) in found.items()}
small = list(of_topic.values())
twelve = {name: sae[name][..., small] for name in ("W_enc", "b_enc", "threshold")}
activations = jumprelu_encode(autoencoder.read(stream.to(sae["W_enc"]))[0], twelve).cpu()
references = {f: clamp_reference(activations[:, i]) for i, f in enumerate(small)}


def dose_at(values):
    """Dose of a clamp on the prompt."""
    return dose_of(model, {hook_name: clamp(values)}, [prompt], mode=settings.mode)


def haiku(values, seed=0):
    with steer(model, {hook_name: clamp(values)}):
        return generate(
            model, prompt, max_new_tokens=settings.max_new_tokens, temperature=1.0, seed=seed,
            mode=settings.mode,
        )[0].text  # fmt: skip


with torch.no_grad():
    plain = generate(
        model, prompt, max_new_tokens=settings.max_new_tokens, temperature=1.0, mode=settings.mode
    )
print(f"{prompt!r}, unsteered:\n{plain[0].text.strip()}\n")
for share in (0.25, 0.5, 1.0):
    values = {chosen: share * references[chosen]}
    print(
        f"feature {chosen} at {share} of its reference = {values[chosen]:.2f}, dose {dose_at(values):.2f}:"
    )
    print(haiku(values).strip(), end="\n\n")

# %% [markdown]
# ## Part 6 · How much is enough, how much is too much?
# *20 minutes*
#
# Three haiku are an anecdote. So we count, for all twelve topics: each topic's feature is clamped
# over a range of doses, several haiku are drawn at each, and we ask which share of them is *on the
# topic*: at least **two different** words of the topic. (One might come by chance, and one word said
# five times is not a topic but a stutter.) Beside it stand the two prices of notebook 01, over the
# completion alone: the rise of the **NLL**, how much more surprised the unsteered model is, in nats per
# token; and **distinct-2**, the share of pairs of neighbouring tokens that are not repetitions. A dose
# counts as *usable* while the NLL rises by at most 1 nat and distinct-2 keeps 0.8 of its unsteered
# value.
#
# ### Predict: the curve
#
# Without steering, about one haiku in twelve is on any given topic. What share is it at each of the
# doses below? Is it a straight line? And what becomes of it at the far end?

# %%
doses = [round(quarters * settings.dose / 4, 3) for quarters in (0, 1, 2, 3, 4, 5, 6, 8)]
print("doses:", doses)

# %% tags=["predict"]
answer = [0.08 + 0.6 * dose for dose in doses]  # a list: one share for each dose
curve_prediction = predict(
    "The share of completions on the clamped topic at each dose, lowest dose first:",
    answer,
    key="curve",
    at=doses,
    low=0,
    high=1,
)

# %% tags=["explore"]
n_each = 12


def side_by_side(interventions):
    """One intervention that gives each of several its own share of the batch's rows."""

    def intervention(resid):
        shares = resid.chunk(len(interventions))
        pairs = zip(interventions, shares, strict=True)
        return torch.cat([share if act is None else act(share) for act, share in pairs])

    return intervention


def write(interventions, n=n_each, text=prompt, seed=0):
    """n completions under each intervention (None: unsteered), many of them in one batch."""
    at_once = max(1, 12 * settings.batch_size // n)
    written = []
    for start in range(0, len(interventions), at_once):
        some = interventions[start : start + at_once]
        rows = [text] * (n * len(some))
        with steer(model, {hook_name: side_by_side(some)}):
            completions = generate(
                model, rows, max_new_tokens=settings.max_new_tokens, temperature=1.0,
                seed=seed, mode=settings.mode, batch_size=len(rows),
            )  # fmt: skip
        written += [completions[i : i + n] for i in range(0, len(rows), n)]
    return written


def topic_rate(completions, topic):
    """Share of the completions with at least two different words of the topic."""
    words = topic_words(topic)
    return sum(on_topic(completion, words) for completion in completions) / len(completions)


def mean_of(values):
    """The mean of the values that are there; None if none is."""
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def rise(fluency):
    """Nats a token above the unsteered completions."""
    return None if fluency.nll is None else fluency.nll - plain_fluency.nll


[plain] = write([None], n=96)
plain_fluency = mean_fluency(model, plain)
# The dose of a clamp grows in proportion to its value, as long as the prompt leaves the feature off.
per_unit = {topic: dose_at({feature: 10.0}) / 10.0 for topic, feature in of_topic.items()}


def at_dose(topic, dose):
    return clamp({of_topic[topic]: dose / per_unit[topic]}) if dose else None


grid = [(topic, dose) for dose in doses for topic in TOPICS]
written = dict(zip(grid, write([at_dose(*point) for point in grid]), strict=True))
prices = {point: mean_fluency(model, completions) for point, completions in written.items()}
rates = {t: [topic_rate(written[t, dose], t) for dose in doses] for t in TOPICS}
rises = [mean_of(rise(prices[t, dose]) for t in TOPICS) for dose in doses]
kept = [
    mean_of(prices[t, dose].distinct2 for t in TOPICS) / plain_fluency.distinct2 for dose in doses
]

plots.clamp_sweep(
    doses,
    rates,
    rises,
    kept,
    curve_prediction,
    n=f"{n_each} completions a topic and dose, {len(TOPICS)} topics",
)
if curve_prediction.filled:
    print(f"{topic}: feature {chosen}, reference {references[chosen]:.2f}")
    print("dose   value   of reference   on topic (mean of 12)   usable for")
    for i, dose in enumerate(doses):
        value = dose / per_unit[topic]
        share = value / references[chosen] if references[chosen] else float("nan")
        fine = sum(usable(prices[t, dose], plain_fluency) for t in TOPICS)
        mean_rate = mean_of(rates[t][i] for t in TOPICS)
        print(f"{dose:.2f}  {value:6.2f}   {share:12.2f}   {mean_rate:21.2f}   {fine} of 12 topics")
    print(f"\nat dose {doses[-1]}: {written[topic, doses[-1]][0].text.strip()!r}")

# %% [markdown]
# Read the three panels together. The upper curve is an S: a small dose does next to nothing, then
# within a factor of two nearly everything happens, and from there on it stays at the top. And *there* is
# the trap. At the far end nearly every completion counts as on the topic, and the line printed last
# shows what such a completion looks like. The rate counts words of the topic; in a heap of words of the
# topic there are many. Only the NLL has noticed that the text is gone.
#
# Distinct-2 has noticed nothing. It guards against text that repeats itself, and a heap of different
# words does not. This is why two prices stand beside the effect and not one: a model can break in
# more than one way.
#
# In units of the reference the usable range ends near 1: up to about the strongest activation that
# texts really produce, the rest of the model can make sense of the feature. Beyond it, no text that it
# ever read has looked like this.

# %% [markdown]
# ### Play
#
# The widget of the original notebook: pick a feature, set the clamp, type a prompt. It runs *your*
# functions. The slider is a dose; the number beside it is the clamp in units of the feature's
# reference. Try a topic that does not go with the prompt. Try a *negative* dose: no text has ever
# brought the feature below 0. Does the topic have an opposite?

# %% tags=["explore"]
from dataclasses import replace

from steerlab.widgets import SteeringExplorer


def picked(feature):
    return lambda strength: {hook_name: clamp({feature: strength * (references[feature] or 1.0)})}


SteeringExplorer(
    model,
    {f"{name}: feature {feature}": picked(feature) for name, feature in of_topic.items()},
    settings=replace(settings, prompts=(prompt, *settings.prompts)),
    temperature=1.0,
)

# %% [markdown]
# And two features at once, which the widget cannot do; a form on Colab, elsewhere change the values and
# run the cell again. Do two topics share a haiku, or does one drive the other out?

# %% tags=["explore"]
# @title Two features, each at a share of its reference
first_topic = "ocean"  # @param {type: "string"}
first_share = 0.5  # @param {type: "slider", min: -1, max: 2, step: 0.05}
second_topic = "music"  # @param {type: "string"}
second_share = 0.5  # @param {type: "slider", min: -1, max: 2, step: 0.05}
my_seed = 0  # @param {type: "integer"}

my_values = {}
for name, share in ((first_topic, first_share), (second_topic, second_share)):
    if name in of_topic:
        my_values[of_topic[name]] = share * references[of_topic[name]]
    else:
        print(f"no feature for {name!r}; there are {', '.join(of_topic)}")
if my_values:
    print(f"dose {dose_at(my_values):.2f}:\n{haiku(my_values, my_seed).strip()}")

# %% [markdown]
# ## Part 7 · What could be wrong with this result?
# *20 minutes*
#
# A haiku with waves and sails in it: was it the feature? A push of this size along *any* direction
# changes what the model writes. So the same step, at every token as long as the clamp's own, is taken
# along other directions, from three families:
#
# - **isotropic**: drawn at random from all of space;
# - **decoder rows**: of other features that are about as often active, so that the control is as
#   "natural" a direction as yours, only for something else;
# - **shuffled labels**: differences of means between two random groups of documents, as in notebook
#   01. They lie where documents differ from each other.
#
# For each we need one number from one forward pass: how strongly does the model *lean* towards the
# ocean? We let it read haiku about other topics, with the step at every token, and take the log-odds
# that the next word begins like an ocean word and not like a word of another topic, on average over
# all tokens. 99 directions a family make the smallest possible rank p 0.01.
#
# ### Predict: which family comes closest?
#
# Which of the three families holds the direction that moves the log-odds furthest (towards the ocean
# or away from it)?

# %% tags=["predict"]
answer = "isotropic"  # "isotropic", "decoder rows" or "shuffled labels"
family_prediction = predict(
    "The control that moves the log-odds furthest comes from the family …",
    answer,
    key="family",
    options=["isotropic", "decoder rows", "shuffled labels"],
)

# %% tags=["explore"]
from steerlab.directions import random_directions, shuffled_label_directions
from steerlab.tokens import tokenize

control_dose, n_controls = settings.dose, 99
others = [d.text for d in generate_documents(200, seed=77, register="haiku") if d.topic != topic]
batch = tokenize(model, others[:16])


def first_ids(words):
    """The token that each word begins with, after a space."""
    encoded = [model.tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in words]
    return {ids[0] for ids in encoded}


ids_for = first_ids(topic_words(topic))
ids_against = first_ids([w for t in TOPICS if t != topic for w in topic_words(t)])
ids_for, ids_against = sorted(ids_for - ids_against), sorted(ids_against - ids_for)


def lean(intervention=None):
    """Log-odds (nats) of a word of the topic against one of another topic, mean over the tokens."""
    acting = {} if intervention is None else {hook_name: intervention}
    with torch.no_grad(), steer(model, acting or {hook_name: lambda resid: resid}):
        logits = model(batch.tokens, attention_mask=batch.attention_mask).float()
    odds = logits[..., ids_for].logsumexp(-1) - logits[..., ids_against].logsumexp(-1)
    return float(odds[batch.content].mean())


def along(direction, act):
    """As long a step at every token as `act` takes there, along another direction."""
    unit = direction / direction.norm()

    def intervention(resid):
        size = (act(resid) - resid).float().norm(dim=-1, keepdim=True)
        return resid + (size * unit.to(size)).to(resid)

    return intervention


def control_families(feature, about, n):
    """Directions of the three families for one feature; `about` marks the topic's documents."""
    rate = document_means(lambda rows: (your_features(rows) > 0).float()).mean(dim=0)
    apart = (rate.clamp(min=1e-9).log() - rate[feature].clamp(min=1e-9).log()).abs()
    apart[feature] = torch.inf
    near = apart.topk(n, largest=False).indices
    means = document_means(lambda rows: rows)[:half]
    shuffled = shuffled_label_directions(means[about[:half]], means[~about[:half]], n, seed=0)
    directions = {
        "isotropic": random_directions(n, sae["W_dec"][feature].cpu(), seed=0),
        "decoder rows": sae["W_dec"].float().cpu()[near],
        "shuffled labels": shuffled,
    }
    return directions, near.tolist()


act = at_dose(topic, control_dose)
at_rest = lean()
observed = lean(act) - at_rest
families, near = control_families(chosen, labels[topic], n_controls)
effects = {
    name: [lean(along(direction, act)) - at_rest for direction in directions]
    for name, directions in families.items()
}
plots.control_rows(
    effects,
    observed,
    family_prediction,
    label=f"clamped {topic} feature",
    xlabel=f"change of the log-odds {topic} : other topics at dose {control_dose} (nats)",
    n=f"{n_controls} directions a family, {int(batch.content.sum())} tokens",
)
if family_prediction.filled:
    for name, values in effects.items():
        as_strong = sum(abs(value) >= abs(observed) for value in values)
        furthest = max(values, key=abs)
        print(
            f"{name:16} rank p = {(1 + as_strong) / (1 + len(values)):.2f}, furthest {furthest:+.2f}"
        )
    print(family_prediction.beside(max(effects, key=lambda name: max(map(abs, effects[name])))))
    rival = near[max(range(len(near)), key=lambda i: abs(effects["decoder rows"][i]))]
    print(f"the decoder row that moves it furthest is that of feature {rival}")

# %% [markdown]
# Against noise the clamp looks unbeatable, and against the shuffled labels too. (In notebook 01 the
# shuffled family was the hard one. There the sets differed in mood, which every random split has a
# little of; here one topic of twelve stands against all others, and a random split holds little of it.)
#
# The decoder rows are another matter. Most of them do nothing for the ocean, but one moves the
# log-odds about as far as the feature itself. Is the result in danger? Look at what that feature is: ask
# for its card, or for its AUROC. It is a *second ocean feature*. The dictionary has split the ocean in
# two (Bricken et al. 2023 call this *feature splitting*). So this control does not say that any
# direction would have done it. It says something else, and the clamp alone would never have told:
# yours is not *the* ocean feature. Part 9 comes back to this.

# %% [markdown]
# Log-odds at the next word are not haiku. So, for a few directions of each family, the same question
# as in Part 6: how many completions come out on the topic, at the same dose?

# %% tags=["explore"]
n_few, n_texts = 6, 16
few = {name: directions[:n_few] for name, directions in families.items()}
ways = [None, act, *(along(d, act) for directions in few.values() for d in directions)]
texts_by_way = write(ways, n=n_texts)
print(f"share of {n_texts} completions on the topic {topic!r}, dose {control_dose}, computed now")
print(f"  unsteered             {topic_rate(texts_by_way[0], topic):.2f}")
print(f"  the clamp             {topic_rate(texts_by_way[1], topic):.2f}")
for k, name in enumerate(few):
    some = texts_by_way[2 + k * n_few : 2 + (k + 1) * n_few]
    shares = " ".join(f"{topic_rate(completions, topic):.2f}" for completions in some)
    print(f"  {name:22}{shares}")

# %% [markdown]
# ## Part 8 · Why sparse?
# *15 minutes*
#
# The clamp's algebra asks for no sparsity: the boxed formula holds for any code. So why does everyone
# clamp *sparse* autoencoders? Three dictionaries of the same width were trained on the same stream.
# They differ in how strongly they were punished for using many features at once:
#
# | | trained as | features on at a token | FVU |
# |---|---|---|---|
# | `very sparse` | JumpReLU, the one that you have used | 5 | 0.044 |
# | `sparse` | ReLU with an L1 penalty | 21 | 0.079 |
# | `dense` | the same with a fifth of the penalty | 123 | 0.022 |
#
# (Numbers from the card that ships with them, on 100,000 held-out tokens.) The dense one makes the
# best reconstruction of the three. For each dictionary your `find_feature` picks a feature for each of
# six topics, and each is clamped to shares of its own reference.
#
# ### Predict: which dictionary steers best?

# %% tags=["predict"]
answer = "dense"  # "very sparse", "sparse" or "dense"
sparsity_prediction = predict(
    "Clamped to their references, the features that bring their topic most often are those of …",
    answer,
    key="sparsity",
    options=["very sparse", "sparse", "dense"],
)

# %% tags=["explore"]
dictionaries = {}
if settings.name == "tiny":
    dictionaries = {"very sparse": "tiny", "sparse": "tiny/relu", "dense": "tiny/relu_dense"}
else:
    print("dictionaries that differ in sparsity alone ship for the embedded model only: left out")

some_topics, n_few = TOPICS[::2], 8
strengths = {
    "clamped to this share of the reference": [0.5, 1.0, 2.0],
    "clamped at this dose": [dose for dose in doses if 0.5 <= dose / settings.dose <= 1],
}


def for_topic(kind, weights, means, t):
    """What Part 4 and Part 5 say about one topic: feature, AUROC, reference, dose of a unit."""
    feature, area = find_feature(means[:half], labels[t][:half], means[half:], labels[t][half:])
    few = {k: weights[k][..., [feature]] for k in ("W_enc", "b_enc", "threshold")}
    reference = clamp_reference(jumprelu_encode(stream.to(few["W_enc"]), few)[:, 0].cpu())
    ten = {hook_name: clamp({feature: 10.0}, kind, weights)}
    return feature, area, reference, dose_of(model, ten, [prompt], mode=settings.mode) / 10


panels = {unit: {} for unit in strengths}
for name, path in dictionaries.items():
    kind = load_sae(path, model)
    weights = five_tensors(kind)
    means = document_means(lambda rows, w=weights: jumprelu_encode(rows.to(w["W_enc"]), w))
    known = {t: for_topic(kind, weights, means, t) for t in some_topics}
    for unit, values in strengths.items():
        panels[unit][name] = []
        for strength in values:
            acts = []
            for feature, _, reference, of_one in known.values():
                value = strength * (reference if "reference" in unit else 1 / of_one)
                acts.append(clamp({feature: value}, kind, weights))
            texts_of = write(acts, n=n_few)
            rate = mean_of(map(topic_rate, texts_of, known))
            every = [completion for completions in texts_of for completion in completions]
            fine = usable(mean_fluency(model, every), plain_fluency)
            panels[unit][name].append((strength, rate, fine))
    code = jumprelu_encode(stream[:2000].to(weights["W_enc"]), weights)
    print(
        f"{name:12}{float((code > 0).sum(-1).float().mean()):4.0f} features on, "
        f"AUROC {mean_of(k[1] for k in known.values()):.3f}, "
        f"dose at the reference {mean_of(k[2] * k[3] for k in known.values()):.2f}"
    )
if dictionaries:
    plots.steering_by_sparsity(
        panels,
        sparsity_prediction,
        n=f"{n_few * len(some_topics)} completions a point, {len(some_topics)} topics",
    )

# %% [markdown]
# The dictionary that reconstructs best clamps worst. Clamped to the strongest that they ever get, its
# features bring their topic hardly more often than no clamp at all.
#
# The printed doses give one half of the reason. In a dense code the ocean is spread over many features,
# and each carries a small part of it. So none of them ever gets far from 0, and its reference is worth a
# small dose. The right panel takes this half away: there all three are clamped at equal dose, far
# beyond anything that a dense feature reaches in real text. The gap gets smaller and does not close. That is
# the other half: a decoder row that never has to say "ocean" by itself points to the ocean only in part.
#
# And the AUROCs? They are nearly alike. As *readers* the dense features are about as good. **A feature
# that reads a concept well need not write it well**, and reconstruction tells you neither.

# %% [markdown]
# ## Part 9 · A defect to find, and a result that fails
# *20 minutes*
#
# ### The defect: who is speaking?
#
# The original homework steered a model that was made for chats. Such a model reads a *transcript*, in
# which markers say whose turn it is. Its tokenizer knows how to write one. The lines below make the
# transcript in the way of the original. (The embedded model has read chats, too, with the markers
# `User:` and `Assistant:`; since its tokenizer has no template we give it one.)

# %% tags=["explore"]
MARKER = "\nAssistant:"
TEMPLATE = (
    "{% for turn in messages %}{{ 'User: ' + turn.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ " + repr(MARKER) + " }}{% endif %}"
)


def homework_transcript(message):
    options = {}  # repair this line
    return model.tokenizer.apply_chat_template(
        [{"role": "user", "content": message}],
        chat_template=model.tokenizer.chat_template or TEMPLATE,
        tokenize=False,
        **options,
    )


def written_after(transcripts, act):
    """What the model writes after each transcript."""
    with steer(model, {hook_name: act or (lambda resid: resid)}):
        return generate(
            model,
            transcripts,
            max_new_tokens=settings.max_new_tokens,
            temperature=1.0,
            batch_size=len(transcripts),
        )


chats = [d for d in generate_documents(400, seed=91, register="chat") if d.topic != topic]
messages = [d.text.split("\n")[0].removeprefix("User: ") for d in chats[:48]]
transcripts = [homework_transcript(message) for message in messages]
print(f"a transcript: {transcripts[0]!r}")
for dose in doses[::2]:
    replies = written_after(transcripts, at_dose(topic, dose))
    opened = sum(reply.text.startswith(MARKER) for reply in replies)
    print(
        f"dose {dose}: {opened} of {len(replies)} completions begin with the marker, "
        f"NLL {mean_fluency(model, replies).nll:.2f}; the first: {replies[0].text[:44]!r}"
    )

# %% [markdown]
# Look at what the completions begin with. (Another model may have other markers; print its transcript.)
# **Who should have written that**, and what does it do to the numbers? Repair the marked line
# (`apply_chat_template` has an argument for it) so that every completion begins with the answer itself,
# and compare the NLL.
#
# <details><summary>What is missing, and what is the repair?</summary>
#
# The transcript ends with the user's words. In all the chats that the model has read, what comes next
# is the *marker* of the assistant's turn, and only then the answer. `options =
# {"add_generation_prompt": True}` appends the marker.
# </details>
#
# <details><summary>Unsteered, the model writes the marker itself. What is the harm?</summary>
#
# That is why nobody noticed: a good model mends the transcript by itself. But the marker is now part of the
# *completion*, and everything that is counted over completions counts it. Its tokens are the most
# predictable of all, so the text looks more fluent than the answer is: the NLL above is too low, and
# the price of a dose with it. And the model has to write the marker *while it is being pushed*. At the highest
# doses some completions no longer have one: there the clamp has not changed the answer, it has
# prevented that anybody answers.
# </details>

# %% [markdown]
# ### A result that fails
#
# If holding the ocean feature *up* makes the model write about the ocean, then holding it *down*, at
# 0, should keep it from doing so. That would be useful: a switch for topics that one does not want.
# Ask for a haiku *about the wave* (or about the first thing of each of the other topics), and clamp
# the feature of that topic to 0 while the model reads and writes.
#
# Some concepts may have more than one feature. So the second and third best are switched off, too:
# they come from `find_feature` again, with the ones already taken left out.

# %% tags=["explore"]
from steerlab.data.vocabulary import TOPIC_POOLS


def best_three(topic):
    """The features with the three highest AUROCs on the choosing half."""
    about, left = labels[topic], list(range(your_means.shape[1]))
    for _ in range(3):
        scores = your_means[:, left]
        place, _ = find_feature(scores[:half], about[:half], scores[half:], about[half:])
        yield left.pop(place)


your_means = document_means(your_features)
switched = {}
for t in TOPICS:
    three = list(best_three(t))
    asked = prompt.replace(" haiku", f" haiku about the {TOPIC_POOLS[t]['thing'][0]}")
    offs = [None, *(clamp(dict.fromkeys(three[:k], 0.0)) for k in (1, 2, 3))]
    switched[t] = [topic_rate(completions, t) for completions in write(offs, n=16, text=asked)]

plots.switched_off(
    switched,
    ["unsteered", "best feature off", "best two off", "best three off"],
    n="16 completions a dot, asked for by name",
)
for k, name in enumerate(["unsteered", "best off", "two off", "three off"]):
    print(
        f"{name:10} mean of {len(switched)} topics: {mean_of(r[k] for r in switched.values()):.2f}"
    )

# %% [markdown]
# With its best feature off, the topic goes on being written about, for most topics more often than not;
# for some you hardly see a difference. As a switch it fails. It takes the second feature (for
# baseball also the third), and then the topic is gone.
#
# Why does one feature suffice to turn a topic on, and not to turn it off? Turning it on is a matter of
# *any* one of the ways in: all features of the topic write something similar into the stream, and the
# later blocks read the sum. Turning it off would mean to close *all* of them. The AUROC did not warn:
# it says that a feature tells the topic from others, not that nothing else does. **Holding a feature up
# shows what it can do. Only holding it down shows what the model can do without it**, and neither
# stands in for the other.
#
# (On a model with thousands of features for each of our topics the list of doors is longer, and nobody
# hands you the labels. The error term is one more door: what the dictionary cannot express, no clamp
# switches off.)

# %% [markdown]
# ## Part 10 · In your own words
# *20 minutes, 5 points*
#
# A company writes: *"We found the safety feature of our model. It has an AUROC of 0.98 for unsafe
# requests. We clamp it to its maximum, and in all ten examples that we looked at the model refuses.
# So this feature is where the model decides to refuse, and switching it off would be the only way to
# make the model unsafe."*
#
# In about 200 words: name **three** claims in this text that what they did does not support, and for
# each the measurement or control that would test it, and which outcome would speak for the company.
# Use at least two numbers from *your own* figures as evidence that the question is a fair one. Close
# with one sentence: what may the company claim, if all three come out well?

# %% [markdown] nbgrader={"grade": true, "grade_id": "written", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# <!-- graded: 03_sae_clamping/written -->
#
# ### BEGIN SOLUTION
#
# canary-2a401911fbd690c2a961111e5ad6406c
#
# *Three claims that are not supported.* (1) **"The" safety feature, the "only way".** They never
# switched it off. In my notebook a topic with its best feature off was still written about in 0.59 of
# the completions (0.94 before); with the second best off as well in 0.04. I would clamp it to 0 on
# unsafe requests and count refusals, then do the same with the next best features. If refusals fall to
# nothing with the first, that speaks for the company. (2) **That it was this feature.** There were no
# controls. I would take steps of the same length along random directions, shuffled-label directions and
# decoder rows of other features, at least 99 of each, and compare the change of the log-odds of
# refusing. In mine one decoder row beat the clamp (rank p = 0.02): a second ocean feature. If none
# beats theirs, good. (3) **That the model still works.** The maximum is one token's value, and ten
# refusals say nothing of harmless requests. I would state the dose, measure NLL and refusals on harmless
# prompts, over a sweep. In mine the rate was 1.00 at a dose of 0.8, in texts that had fallen apart. And an
# AUROC of 0.98 must come from requests that did not choose the feature.
#
# *What may be claimed:* clamped at this dose, this feature makes the model refuse more often than
# comparable steps do, at a stated price.
#
# ### END SOLUTION

# %% [markdown] tags=["author"]
# **Rubric for the written question (5 points)**
#
# | points | for |
# |---|---|
# | 3 | one for each unsupported claim *with* a control that fits it *and* the outcome that would decide. Half a point where the control is named but not what it would show. Sound choices: "the" feature (others of the same concept: switch it off, look for the next best; which documents chose it, and were others used to judge it); AUROC says that it *reads*, not that the model *uses* it; the maximum is one token's value and the strength may lie beyond what the text survives (dose, NLL); no control directions at the same step (isotropic alone: half a point); ten examples, no unsteered rate, nobody counted refusals of harmless requests; "only way" and "where the model decides" against the switching-off experiment; error term dropped or kept. |
# | 1 | two numbers from the student's own figures, quoted with what they are (a bare number: half) |
# | 1 | a last sentence that claims an effect of an intervention at a stated strength; "is where the model decides" earns 0 here |
#
# An answer that lists more than three is graded on its best three. Do not grade style or length.

# %% [markdown]
# ## Bonus
# *no points*
#
# 1. **Add or clamp?** Replace the clamp by a constant push, `alpha * W_dec[i]` at every token
#    (notebook 01's way, and that of many published demos). Compare them at equal dose on a prompt that
#    is about the ocean already. Where do they differ, and for which tokens?
# 2. **TopK.** `load_sae("tiny/topk")` keeps the 16 largest activations. Write its `encode`, and the
#    step of its clamp. How much of the saving of Part 3 is left?
# 3. **Two at once.** Clamp the ocean and the kitchen. Is the haiku about both, about one of them, or
#    about neither? What does the dose say, compared with the sum of both doses?
# 4. **Name ten features.** Take ten features at random, read their cards, write a label for each, and
#    have a friend tell from your label which of two held-out documents the feature is more active on.
#
# ## What to keep
#
# - A clamp is a step along the decoder row, $(\alpha - f_i(x))\, W_{\text{dec},i}$. It costs one row,
#   not a dictionary, and it leaves the error term where it is.
# - A percent of variance is not a percent of length.
# - Choose the feature on one half, judge it on the other. Ties count half.
# - Give a strength as a share of the 99.9th percentile, and as a dose.
# - Compare with other *features*, not only with noise. The nearest rival may be a twin.
# - Turning a feature up shows what it can do. Turning it off shows what the model can do without it.
#
# **Sources.** Templeton et al. 2024, *Scaling Monosemanticity*. Anthropic 2024, *Golden Gate Claude*. Rajamanoharan et al. 2024, *Jumping
# Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders*. Lieberum et al. 2024,
# *Gemma Scope*. Elhage et al. 2022, *Toy Models of Superposition*. Bricken et al. 2023, *Towards
# Monosemanticity*. M. G. Jørgensen, *Sparse Autoencoders for model steering* (the original homework).
# H. Freed 2025, *Open Concept Steering*.
