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
# # 04 · Concept activation vectors
#
# Here is a pile of texts about the ocean, and here are eleven other piles. A model has read them
# all. Is there something inside it that says *this is about the ocean*? Train a classifier on its
# activations: if a flat boundary is enough to tell the pile from the others, then the direction
# straight across that boundary is a candidate. It is called a **concept activation vector**, CAV.
#
# A CAV comes with a label from the start, which a feature of a sparse autoencoder does not. And it
# invites two conclusions that do not follow. *The classifier is right nine times in ten, so the
# model uses this concept. The direction separates the concept best, so it is the best one to
# push along.* In this notebook you build CAVs, steer with them, and put both conclusions to the test.
#
# **Afterwards you can**
#
# - turn texts of any length into one vector each, without a token too many and without a row of
#   NaN;
# - fit concept activation vectors and judge them on texts that had no part in the fit;
# - say what the shared mean of all activations does to a classifier, and keep it out;
# - steer with a CAV at a stated dose, and compare it with two other directions for the same concept;
# - measure whether a prediction is sensitive to a concept (TCAV), and whether more than chance.
#
# **You need** PyTorch, and it helps to have done notebook 01: residual stream, hook point, dose
# and control directions are explained there at length and here in a sentence. What a linear support
# vector machine does is explained when it comes up.
#
# | part | | minutes | points |
# |---|---|---|---|
# | 1 | A concept is a pile of texts | 10 | – |
# | 2 | One vector for each text | 30 | 3 |
# | 3 | From piles to directions | 35 | 5 |
# | 4 | What accuracy does not say | 15 | – |
# | 5 | Steering with a CAV | 20 | 1 |
# | 6 | Three directions for one concept | 20 | – |
# | 7 | Does the model use it? | 40 | 6 |
# | 8 | A borrowed CAV, and a prompt without an end | 20 | – |
# | 9 | In your own words | 20 | 5 |
#
# **How to work.** Run the cells from top to bottom. Where a cell says `YOUR CODE HERE`, replace the
# line that raises an error. The cell after the next one is a *check*: it looks at your function and
# tells you what it finds. Checks give no points; the points come from other inputs when your work is
# graded. Some cells ask you to *predict* a result. Their figures do not appear before you have
# committed to an answer. Answering earns no points and being wrong costs none.
#
# **If a function will not come right**, go on and come back later. Parts 3 and 5 begin with a way round
# the parts before them: lines that you can un-comment to get the vectors from the library; the one in
# Part 5 serves Part 7 as well. Part 6 needs `cav_intervention`. Part 7 needs its own three functions
# and no intervention. Part 8 needs those of Parts 2, 3 and 5.

# %% tags=["install"]
# install steerlab

# %% [markdown]
# One variable picks the model. `"tiny"` comes with the course and runs on any laptop without a
# network; its texts are about twelve topics. On a GPU, `"gpt2"` or `"gemma-2-2b-it"` work too, with
# posts from twenty discussion groups as their texts. Nothing else in the notebook changes with it.

# %%
MODEL = "tiny"  # @param ["tiny", "gpt2", "gemma-2-2b", "gemma-2-2b-it", "qwen3-4b", "olmo-2-7b"] {allow-input: true}

# %%
import torch
from jaxtyping import Bool, Float, Int
from sklearn.svm import LinearSVC
from steerlab import checks, course_settings, load_model, plots
from steerlab.cavs import COST
from steerlab.predict import predict
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

model = load_model(MODEL)  # together with the imports this takes about 15 seconds
settings = course_settings(model)

# %% [markdown]
# ## Part 1 · A concept is a pile of texts
# *10 minutes*
#
# What is "the ocean", to a classifier? Nothing but the texts that somebody has put on that pile. So
# look at the piles first. Every text below has one label, its topic. Half of the texts are for
# fitting (`train` is True), the other half is **held out**: nothing may be learned from it, it is
# there to judge with. The order is random already, so that the first half is a random half.

# %% tags=["explore"]
from steerlab.data import topic_texts, words_of_topics
from steerlab.tokens import encode

texts, labels = topic_texts(settings.topics, settings.n_topic_texts, seed=0)
topics = sorted(set(labels))
text_topic = torch.tensor([topics.index(label) for label in labels])  # a number for each label
for_training = torch.arange(len(texts)) < len(texts) // 2

for i in range(4):
    print(f"[{labels[i]}] {texts[i][:160]!r}")
sizes = torch.bincount(text_topic, minlength=len(topics)).tolist()
lengths = torch.tensor([len(encode(model, text)) for text in texts])
print(f"\n{len(topics)} topics with {min(sizes)} to {max(sizes)} texts each")
print(
    f"tokens in a text: {int(lengths.min())} to {int(lengths.max())}, median {int(lengths.median())}"
)

# %% [markdown]
# The texts differ in length, and they begin in much the same way whatever they are about. Both will
# matter in a moment.

# %% [markdown]
# ## Part 2 · One vector for each text
# *30 minutes, 3 points*
#
# The **residual stream** holds one vector of `d_model` numbers for each token at each layer. A
# classifier wants one vector for each *text*. As in notebook 01 we average over its tokens, with two
# kinds of token left out: position 0, which is BOS or an attention sink and says nothing about the
# text, and padding. Now there is a third kind. A post in a discussion group begins with greetings
# and quotations, a story with its first words; **the first few tokens are written before the topic
# shows.** So we skip them: after position 0, `skip` tokens more.
#
# In a formula, with $m_t = 1$ where position $t$ is a real token and $0$ on padding,
#
# $$\bar x = \frac{\sum_{t > s} m_t\, x_t}{\sum_{t > s} m_t}, \qquad s = \text{skip},$$
#
# where positions count from 0 at the *first real token*. In a batch that is padded on the left, that
# is not column 0 of the tensor.
#
# And what of a text that has no token after position $s$? The formula says $0/0$. In floating point
# that is NaN, without an error; a classifier will refuse the whole table or, worse, somebody writes
# `nan_to_num` and there is a text about nothing at the origin. Such a text *has* no mean. So the
# contract of your function is: **it gets no row, and it is reported.** The function returns the means
# of the texts that have one, and a mask that says which texts these are.


# %% nbgrader={"grade": false, "grade_id": "masked_mean", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 04_cav/masked_mean
def masked_mean(
    resid: Float[Tensor, "batch pos d_model"], attention_mask: Int[Tensor, "batch pos"], skip: int
) -> tuple[Float[Tensor, "n_kept d_model"], Bool[Tensor, "batch"]]:
    """Mean residual of each text after position 0 and `skip` more tokens, and which texts have one.

    attention_mask is 1 (or True) on real tokens and 0 (or False) on padding, which may lie on either
    side. Positions count from 0 at the first real token; those from skip + 1 on are averaged.
    Returns (means, kept): kept[i] is True where text i has such a token, and means holds one row for
    each of these texts, in their order, in float32. Padding may hold anything, NaN too.
    """
    ### BEGIN SOLUTION
    # canary-a7207f533140f7e1040d6514223b14f9
    position = attention_mask.long().cumsum(dim=1) - 1
    counts = attention_mask.bool() & (position > skip)
    kept = counts.any(dim=1)
    # Replaced, not multiplied away: 0 times NaN is NaN.
    sums = resid.float().masked_fill(~counts[..., None], 0.0).sum(dim=1)
    return sums[kept] / counts.sum(dim=1)[kept, None], kept
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "masked_mean_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 04_cav/masked_mean  (hidden tests run here when your work is graded)

# %%
checks.check_masked_mean(masked_mean)

# %% [markdown]
# <details><summary>How do I find position 0 of a text that is padded on the left?</summary>
#
# Go along a row of the mask and count the ones: `cumsum(dim=1)` gives 1 at the first real token, 2
# at the second. Subtract 1 and you have the position. On padding that number means nothing, so
# combine the condition with the mask itself.
# </details>
#
# <details><summary>Why may I not multiply by the mask and sum?</summary>
#
# Because padding may hold NaN, for instance when all that a padded position may attend to is masked.
# `0 * nan` is `nan`. `masked_fill` and `torch.where` *replace* a value, whatever it was.
# </details>
#
# <details><summary>Why float32?</summary>
#
# A half-precision number ends at 65,504. Sum a hundred tokens with coordinates of a thousand, as
# large models have them, and the result is infinite. Convert first, then sum.
# </details>

# %% [markdown]
# ### Debug the source: a row of NaN
#
# The notebook that this one grew out of pooled like this. It padded on the right, cut off the first
# 64 columns and one for BOS, multiplied by the mask, summed, divided, and a dozen lines further down
# threw away the rows with NaN in them. Here is that recipe on our texts, for several prefixes.
# **Before you run it**: what else does a filter on NaN throw away, besides NaN?

# %% tags=["explore"]
from steerlab.hooks import read_batch
from steerlab.tokens import pad_left

hook_name = settings.hook_name


def streams(texts, hook_names, model=model, batch_size=64):
    """Batch by batch: the stream at each hook point, and the attention mask (padding on the left)."""
    limit = min(int(model.cfg.n_ctx), settings.max_text_tokens + 1)
    rows = [encode(model, text)[:limit] for text in texts]
    for start in range(0, len(rows), batch_size):
        batch = pad_left(model, rows[start : start + batch_size])
        yield read_batch(model, batch, hook_names), batch.attention_mask


def source_pooling(resid, mask, prefix):
    """The recipe of the source: cut columns, multiply by the mask, divide by its sum."""
    resid, mask = resid[:, prefix + 1 :].float(), mask[:, prefix + 1 :].float()
    return torch.einsum("bpd,bp->bd", resid, mask) / mask.sum(dim=1, keepdim=True)


def flipped(resid, mask):
    """A left-padded batch, padded on the right instead."""
    order = mask.argsort(dim=1, descending=True, stable=True)
    return resid.gather(1, order[..., None].expand_as(resid)), mask.gather(1, order)


one_batch = next(streams(texts[:64], [hook_name]))
resid, mask = one_batch[0][hook_name], one_batch[1]
n_real = mask.sum(dim=1).cpu()
print("prefix  rows of NaN  tokens in a text that is left (median)")
for prefix in (0, settings.skip_tokens, 2 * settings.skip_tokens, 4 * settings.skip_tokens, 64):
    lost = source_pooling(*flipped(resid, mask), prefix).isnan().any(dim=1).cpu()
    left = int(n_real[~lost].median()) if bool((~lost).any()) else "–"
    print(f"{prefix:6}  {int(lost.sum()):4} of {len(lost)}  {left}")
right = source_pooling(*flipped(resid, mask), settings.skip_tokens)
wrong = source_pooling(resid, mask, settings.skip_tokens)
both = ~(right.isnan().any(dim=1) | wrong.isnan().any(dim=1))
off = (wrong - right)[both].norm(dim=1) / right[both].norm(dim=1)
print(f"\nthe same lines on left-padded texts: {int(wrong.isnan().any(dim=1).sum())} rows of NaN,")
print(
    f"and {int((off > 0.01).sum())} of {int(both.sum())} means are off, by up to {100 * off.max():.0f}%"
)

# %% [markdown]
# <details><summary>What is lost with the NaN? (Open this after you have run the cell.)</summary>
#
# *Short texts.* The filter is a selection by length in disguise: what is left is longer than what was
# there, and whatever goes with length (a haiku is short, a letter is long) is no longer what it was.
# It also hides every *other* cause of NaN, such as an overflow. And nobody was told: the source never
# prints how many rows it dropped.
#
# The last two lines show the other half of the defect. The recipe is right for one side of padding
# only, and on the other it does not fail: it quietly averages BOS and the prefix in. Several
# tokenizers pad on the left by default.
# </details>
#
# Now *your* function reads all texts, at every layer.

# %% tags=["explore"]


def text_means(texts, hook_names, model=model, skip=settings.skip_tokens):
    """Your means at each hook point, and which texts have one, in the order of the texts."""
    # Texts of like length go together, so that a batch holds little padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found = {name: torch.zeros(len(texts), model.cfg.d_model) for name in hook_names}
    kept, done = torch.zeros(len(texts), dtype=torch.bool), 0
    for resid, mask in streams([texts[i] for i in order], hook_names, model):
        rows = torch.tensor(order[done : done + len(mask)])
        done += len(mask)
        for name in hook_names:
            means, some = masked_mean(resid[name], mask, skip)
            kept[rows] = some.cpu()
            found[name][rows[some.cpu()]] = means.cpu()
    return {name: means[kept] for name, means in found.items()}, kept


hook_names = list(settings.hook_names)
means_at, kept = text_means(texts, hook_names)
dropped = [label for label, keep in zip(labels, kept.tolist(), strict=True) if not keep]
print(
    f"{len(texts)} texts, {len(dropped)} too short for a mean after {settings.skip_tokens} tokens"
)
print({name: list(means.shape) for name, means in means_at.items()})

# %% [markdown]
# ## Part 3 · From piles to directions
# *35 minutes, 5 points*
#
# ### What all texts share
#
# Take two texts at random, one about the ocean and one about cooking. You might expect their vectors
# to point in different directions. Look: they point in nearly the *same* one. All activations of a
# layer share a large mean, and what tells texts apart is shorter than that.

# %% tags=["explore"]
# Part 2 not finished yet? Take the `#` away from these lines and go on; come back later.
# from steerlab.cavs import pool
# pooled = {name: pool(model, texts, name, skip=settings.skip_tokens, max_tokens=settings.max_text_tokens)
#           for name in settings.hook_names}
# means_at, kept = {name: p.means for name, p in pooled.items()}, pooled[settings.hook_name].kept

means = means_at[hook_name]
topic, train = text_topic[kept], for_training[kept]
shared = means[train].mean(dim=0)
a, b = means[topic == 0][0], means[topic == 1][0]
print(f"cosine of a text about {topics[0]} with one about {topics[1]}:")
print(f"  as they are      {torch.cosine_similarity(a, b, dim=0):+.2f}")
print(f"  without the mean {torch.cosine_similarity(a - shared, b - shared, dim=0):+.2f}")
spread = float((means[train] - shared).norm(dim=1).mean())
print(f"length of the shared mean {shared.norm():.1f}, mean distance from it {spread:.1f}")

# %% [markdown]
# So before anything is fitted, the mean goes. And one more number: a classifier that punishes long
# weight vectors, as ours will, depends on the scale of its inputs. Layers and models differ in scale
# by factors of hundreds, so we bring all of them to the same one. With $\mu$ the mean of the
# *training* texts,
#
# $$x' = \frac{\sqrt{d}}{\operatorname{mean}_{\text{train}} \lVert x - \mu \rVert}\,(x - \mu),
# \qquad d = \text{d\_model},$$
#
# so that $x'$ has length $\sqrt d$ on average, about 1 in each coordinate. One number scales all
# coordinates: dividing each by its own standard deviation, a common habit, would change the angles,
# and a direction would no longer be a direction *of the stream*.
#
# The held-out texts are moved and scaled by the **same** $\mu$ and the same factor. If they had a say
# in either, something of them would be known before they are judged.


# %% nbgrader={"grade": false, "grade_id": "prepare", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 04_cav/prepare
def prepare(
    means: Float[Tensor, "text d_model"], train: Bool[Tensor, "text"]
) -> Float[Tensor, "text d_model"]:
    """All rows, centred and scaled by numbers that come from the training rows alone.

    Afterwards the rows where train is True have mean zero, and the mean of their lengths (of the
    lengths, not of their squares) is the square root of d_model. means itself stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-a7207f533140f7e1040d6514223b14f9
    centred = means - means[train].mean(dim=0)
    return centred * means.shape[1] ** 0.5 / centred[train].norm(dim=1).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "prepare_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 04_cav/prepare  (hidden tests run here when your work is graded)

# %%
checks.check_prepare(prepare)

# %% [markdown]
# <details><summary>How do I pick the training rows?</summary>
#
# `means[train]` with a Boolean mask gives the rows where it is True; `~train` is the opposite mask.
# </details>
#
# ### The classifier
#
# A **linear support vector machine** (SVM) looks for a flat boundary $w \cdot x + b = 0$ between two
# sets of points. It pays for every point that lies on the wrong side of the boundary or closer to it
# than a margin, and it pays for the length of $w$, so that it prefers a wide margin. `cost` (scikit-learn
# calls it `C`) says how dear the first kind of payment is compared with the second.
#
# With twelve topics we fit twelve of them, each for *one topic against all others*. The vector $w$
# stands at right angles to the boundary and points to the topic's side. Its direction is the concept
# activation vector (Kim et al. 2018):
#
# $$v_c = \frac{w_c}{\lVert w_c \rVert}.$$
#
# Its length is thrown away: it says how sharp the margin is, nothing about the model. To classify a
# text, ask all twelve: $w_c \cdot x + b_c$ is the **margin** of topic $c$, and the largest margin wins.
# The share of *held-out* texts that get their own topic is the **accuracy**.
#
# In scikit-learn, `LinearSVC(C=cost).fit(x, y)` takes numpy arrays (`tensor.numpy()`); afterwards
# `.coef_` holds $w$ with shape `[1, d_model]` when `y` has two values, and
# `.decision_function(x)` gives the margins.


# %% nbgrader={"grade": false, "grade_id": "fit_cavs", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 04_cav/fit_cavs
def fit_cavs(
    inputs: Float[Tensor, "text d_model"],
    labels: Int[Tensor, "text"],
    train: Bool[Tensor, "text"],
    cost: float,
) -> tuple[Float[Tensor, "class d_model"], float]:
    """One concept activation vector for each class, and their accuracy on held-out texts.

    labels are 0, 1, ..., n_classes - 1. For each class c a LinearSVC(C=cost), with its intercept, is
    fitted to tell labels == c from all other labels, on the rows where train is True; row c of the
    CAVs is its normal, of length 1, pointing towards class c. The accuracy is the share of the rows
    where train is False whose label has the largest margin. Two classes have two CAVs as well.
    """
    ### BEGIN SOLUTION
    # canary-a7207f533140f7e1040d6514223b14f9
    normals, margins = [], []
    for c in range(int(labels.max()) + 1):
        svm = LinearSVC(C=cost, max_iter=20_000, random_state=0)
        svm.fit(inputs[train].numpy(), (labels[train] == c).numpy())
        normals.append(torch.from_numpy(svm.coef_[0]).float())
        margins.append(torch.from_numpy(svm.decision_function(inputs[~train].numpy())))
    cavs = torch.stack(normals)
    right = torch.stack(margins).argmax(dim=0) == labels[~train]
    return cavs / cavs.norm(dim=1, keepdim=True), float(right.float().mean())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "fit_cavs_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 04_cav/fit_cavs  (hidden tests run here when your work is graded)

# %%
checks.check_fit_cavs(fit_cavs)

# %% [markdown]
# <details><summary>May I fit all classes with one call?</summary>
#
# `LinearSVC().fit(x, labels)` does one against the rest by itself, and `.coef_` then has one row for
# each class. With *two* classes it has a single row, towards the second one. If you take this way,
# make the other row yourself.
# </details>
#
# <details><summary>Which side does the normal point to?</summary>
#
# scikit-learn sorts the values of `y`. False comes before True, 0 before 1; the normal points to the
# larger one.
# </details>

# %% tags=["explore"]
inputs = prepare(means, train)
cavs, accuracy = fit_cavs(inputs, topic, train, COST)
print(f"{len(topics)} CAVs at {hook_name}, from {int(train.sum())} texts")
print(
    f"accuracy on {int((~train).sum())} held-out texts: {accuracy:.3f} (guessing: {1 / len(topics):.3f})"
)

# %% [markdown]
# ### Debug the source: no centre, no intercept
#
# The source fitted `LinearSVC(fit_intercept=False)` to the vectors as they came out of the model.
# Think about what such a classifier has to do. Eleven texts in twelve do *not* belong to its topic,
# so for most of them its margin must come out negative. An intercept would do that. Without one, the
# only thing that all texts have in common, and that the margin can be lowered with, is...
#
# Below, both ways side by side: the cosines of all CAVs with each other, and in the last row and
# column with the **shared mean**. Look at that row.

# %% tags=["explore"]
import warnings


def unit(vectors):
    """The vectors at length 1."""
    return vectors / vectors.norm(dim=-1, keepdim=True)


def source_cavs(means):
    """As in the source: vectors as they are, no intercept, scikit-learn's own cost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has not converged
        svm = LinearSVC(fit_intercept=False, random_state=0)
        svm.fit(means[train].numpy(), topic[train].numpy())
    weights = torch.from_numpy(svm.coef_).float()
    hits = (means[~train] @ weights.T).argmax(dim=1) == topic[~train]
    return unit(weights), int(hits.sum()) / len(hits)


def with_mean(cavs, mean):
    """The vectors, and the mean at length 1 as one more row."""
    return torch.cat([cavs, mean[None] / mean.norm()])


def between(vectors):
    """Mean cosine of different vectors."""
    cosines = vectors @ vectors.T
    return float(cosines[~torch.eye(len(vectors), dtype=torch.bool)].mean())


raw_cavs, raw_accuracy = source_cavs(means)
# The same texts in other units: nothing is lost, nothing comes nearer to anything else.
short_cavs, short_accuracy = source_cavs(means / 100)
own_short_cavs, _ = fit_cavs(prepare(means / 100, train), topic, train, COST)
ways = {
    "yours": (cavs, accuracy),
    "the source's": (raw_cavs, raw_accuracy),
    "the source's, stream ÷ 100": (short_cavs, short_accuracy),
}
maps = {name: with_mean(v, shared) @ with_mean(v, shared).T for name, (v, _) in ways.items()}
plots.cosine_maps(
    maps, [*topics, "MEAN"], reach=0.5, n=f"{int(train.sum())} texts, layer {settings.layer}"
)
print("                           accuracy  cosine between CAVs  with the mean: average, negative")
for name, (vectors, right) in ways.items():
    toward = vectors @ (shared / shared.norm())
    print(
        f"{name:26} {right:.3f}     {between(vectors):+.3f}               "
        f"{toward.mean():+.2f}, {int((toward < 0).sum())} of {len(toward)}"
    )
moved = torch.cosine_similarity(cavs, own_short_cavs, dim=1).min()
print(f"your CAVs with the stream ÷ 100: cosine at least {moved:.3f} with before")

# %% [markdown]
# In *your* map, some topics lean towards the mean and some away from it. In the source's, all twelve
# lean away: each CAV makes up for its missing intercept by pointing a little *against* what all texts
# have in common. On this layer of the embedded model it is a little indeed, −0.07 on average. The
# defect is there in every single vector and does small harm; neither the accuracy nor the cosines
# between topics would have told you. Only the one row that you knew to look for does.
#
# The third map is the same recipe on the same texts in other units. Dividing by 100 changes nothing
# about which text is like which. But in a shorter stream the same margin needs longer weights, the SVM
# pays for their length, and lowering all margins at once along the mean is the cheapest thing to buy.
# Now the vectors are alike (mean cosine +0.28), because each is for a good part the mean with a minus
# sign, and accuracy has fallen. Whoever steers with one of these pushes against being a text. Your CAVs
# have not changed. This is what centring and scaling are for: the result no longer depends on units
# that somebody else chose.

# %% [markdown]
# ## Part 4 · What accuracy does not say
# *15 minutes*
#
# An accuracy like this is easily read as a statement about the model: *at this layer, it knows what
# the text is about.* If that is what accuracy measures, then it should grow from layer to layer,
# starting low: before block 0 the stream is only the **embedding** of each token, looked up in a
# table. No token has seen any other token yet. Nothing has been computed.
#
# ### Predict: what does a classifier find where nothing has been computed?
#
# We fit CAVs at every layer with your functions. What is the held-out accuracy *before block 0*?

# %% tags=["predict"]
answer = 0.3  # a share between 0 and 1
first_layer = predict(
    "Held-out accuracy of CAVs fitted before block 0, where the stream is just word embeddings:",
    answer,
    key="first_layer",
    low=0,
    high=1,
)

# %% [markdown]
# The figure has a second line, a control. *Shuffled labels*: the same texts, the same classifier, but
# the labels have been dealt out at random. With enough dimensions a flat boundary separates *any*
# two sets of points, so a classifier can be perfect on what it was fitted on and know nothing. On
# held-out texts the second line should lie at the level of guessing; if it does not, something
# leaks from one half into the other.

# %% tags=["explore"]
shuffled = topic[torch.randperm(len(topic), generator=torch.Generator().manual_seed(0))]


def layer_accuracy(labels):
    """Held-out accuracy at each hook point."""
    return [fit_cavs(prepare(means_at[name], train), labels, train, COST)[1] for name in hook_names]


by_layer = {"true labels": layer_accuracy(topic), "shuffled labels": layer_accuracy(shuffled)}
plots.accuracy_by_layer(
    by_layer,
    first_layer,
    places=[str(layer) for layer in settings.layers],
    chance=1 / len(topics),
    n=f"{int(train.sum())} texts to fit, {int((~train).sum())} held out",
)
if first_layer.filled:
    print(first_layer.beside(by_layer["true labels"][0]))
    print("by layer:", [round(share, 3) for share in by_layer["true labels"]])

# %% [markdown]
# <details><summary>Why is it so high? (Open this after you have seen the figure.)</summary>
#
# The texts about the ocean contain *ocean words*, and a mean of word embeddings is a list of the words
# that occur, blurred. The classifier does the reading, not the model. Any model will do, even one
# whose blocks have never been trained.
#
# So a high accuracy says that the information is *there*, in a form that a flat boundary can reach. It
# does not say that the model put it there, that it needs it, or that anything downstream reads this
# direction. That takes experiments that change something: Parts 5 to 7.
# </details>

# %% [markdown]
# ## Part 5 · Steering with a CAV
# *20 minutes, 1 point*
#
# The simplest experiment: push. We add the CAV to the stream of every token while the model writes,
#
# $$x_t \;\to\; x_t + \alpha\, v.$$
#
# The source had a slider for $\alpha$ that ran from 0 to 1000 and began at 525. What is 525? Too much
# or too little, depending on how long the stream is at that layer of that model. So we state the
# **dose**, the length of what is added divided by the mean length of the stream: with `stream_norm`
# for the latter, $\alpha = \text{dose} \cdot \text{stream\_norm}$ for a $v$ of length 1.
#
# An **intervention** is a function from the stream `[batch, pos, d_model]` to the stream that takes
# its place. *Where* it acts, at which hook point and at which positions, is decided outside: by
# `with steer(model, {hook_name: intervention}):`, which spares position 0 and keeps count of
# positions when a KV cache is used. (You built that machinery in notebook 01.)


# %% nbgrader={"grade": false, "grade_id": "cav_intervention", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 04_cav/cav_intervention
def cav_intervention(cav: Float[Tensor, "d_model"], dose: float, stream_norm: float):
    """A function of the stream that pushes every position along the CAV by a dose.

    It takes resid [batch, pos, d_model] and returns a new tensor of the same shape, dtype and device,
    in which every token has moved by a vector of length |dose| * stream_norm: along the CAV for a
    positive dose, against it for a negative one. cav may have any length but 0. resid stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-a7207f533140f7e1040d6514223b14f9
    push = dose * stream_norm * cav / cav.norm()

    def intervention(resid):
        return resid + push.to(resid)

    return intervention
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "cav_intervention_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 04_cav/cav_intervention  (hidden tests run here when your work is graded)

# %%
checks.check_cav_intervention(cav_intervention)

# %% tags=["explore"]
# Part 3 not finished yet? Take the `#` away from these lines and go on; come back later.
# from steerlab.cavs import fit_cavs as library_cavs, pool
# pooled = pool(model, texts, settings.hook_name, skip=settings.skip_tokens,
#               max_tokens=settings.max_text_tokens)
# means, kept, hook_name = pooled.means, pooled.kept, settings.hook_name
# topic, train = text_topic[kept], for_training[kept]
# found = library_cavs(means[train], [topics[i] for i in topic[train].tolist()])
# cavs = torch.stack([found[name] for name in topics])
# accuracy = found.accuracy(means[~train], [topics[i] for i in topic[~train].tolist()])
# inputs = (means - found.mean) * found.scale

from steerlab.steering import generate, residual_norm, steer

prompt = settings.haiku
stream_norm = residual_norm(model, hook_name, [prompt], mode=settings.mode)


def written(interventions, n, model=model):
    """n texts for each intervention, drawn at temperature 1; all of them in one batch.

    The rows of the batch are shared out among the interventions, n to each, in their order.
    """

    def side_by_side(resid):
        shares = resid.chunk(len(interventions))
        return torch.cat([f(share) for f, share in zip(interventions, shares, strict=True)])

    prompts = [prompt] * (n * len(interventions))
    with steer(model, {hook_name: side_by_side}):
        done = generate(
            model,
            prompts,
            max_new_tokens=settings.max_new_tokens,
            temperature=1.0,
            mode=settings.mode,
            batch_size=len(prompts),
        )
    return [done[i : i + n] for i in range(0, len(done), n)]


print(f"prompt {prompt!r}, layer {settings.layer}, stream of length {stream_norm:.1f}\n")
shown = [0, len(topics) // 2, len(topics) - 1]
for number in shown:
    for dose in (0.0, settings.dose, -settings.dose):
        [[text]] = written([cav_intervention(cavs[number], dose, stream_norm)], 1)
        print(f"{topics[number]:>12} {dose:+.1f}  {text.text!r}")
    print()

# %% [markdown]
# The model was asked for a text about nothing in particular. Look at the rows with a positive dose.
# And at those with a negative one: what does it mean to push *away* from a topic?
#
# ### Play
#
# One entry for each topic, run by your function. Find the dose at which the topic appears, and the
# dose at which the text is no text any more. Are the two far apart?

# %% tags=["explore"]
from dataclasses import replace

from steerlab.widgets import SteeringExplorer


def explorer_entry(cav):
    """What the explorer asks for: a function of the strength that gives {hook point: intervention}."""
    return lambda strength: {hook_name: cav_intervention(cav, strength, stream_norm)}


SteeringExplorer(
    model,
    {name: explorer_entry(cav) for name, cav in zip(topics, cavs, strict=True)},
    settings=replace(settings, prompts=(prompt,)),
    temperature=1.0,
)

# %% [markdown]
# Two topics in one push: half of one CAV and half of another, at the dose that you set (a form on Colab;
# elsewhere change the values and run the cell again). Is the text about both?

# %% tags=["explore"]
# @title Between two topics
first_topic = 0  # @param {type: "slider", min: 0, max: 11, step: 1}
second_topic = 1  # @param {type: "slider", min: 0, max: 11, step: 1}
my_dose = 0.5  # @param {type: "slider", min: -1, max: 1, step: 0.05}

mixture = cavs[first_topic] + cavs[second_topic]
print(f"{topics[first_topic]} and {topics[second_topic]}, dose {my_dose:+.2f}")
for my_text in written([cav_intervention(mixture, my_dose, stream_norm)], 3)[0]:
    print(repr(my_text.text))

# %% [markdown]
# ## Part 6 · Three directions for one concept
# *20 minutes*
#
# The CAV is the direction that *separates* a topic from the rest. Is it the direction in which the
# model *writes* the topic? These are different questions, and there is a simple reason why their
# answers differ. Suppose that texts about the ocean are also, by accident, a little longer than
# others. A good classifier finds out what length looks like in the stream, and *subtracts* it, so
# that length no longer disturbs its reading. So the normal of the boundary holds two things: what
# the topic adds, and the negatives of all that is in the way. Read with it, and both help. Push with
# it, and you also push "shorter".
#
# Haufe et al. (2014) made this exact. If a linear reader has the weights $v$, then the **pattern**
# that goes with it, that is, how the stream changes as the reading goes up, is
#
# $$a = \Sigma\, v, \qquad \Sigma = \text{the covariance of the stream}.$$
#
# And there is the plainest candidate of all, the **mean difference** of notebook 01: the mean of the
# topic's texts minus the mean of the others. So, for each topic three directions, all of length 1,
# from the same training texts.
#
# ### Predict: which one writes best?
#
# We steer with each at several doses, for every topic, and count the texts that come out *on topic*:
# with at least two different words of that topic. Which direction has the largest share at half of
# the course's dose? (Where texts fall apart, all of them are "on topic".) The right half of the
# figure shows the same texts by their price.

# %% tags=["predict"]
answer = "CAV"  # "CAV", "mean difference" or "pattern"
best_writer = predict(
    f"At dose {settings.dose / 2:g}, averaged over topics, most texts are on topic with the …",
    answer,
    key="best_writer",
    options=["CAV", "mean difference", "pattern"],
)

# %% tags=["explore"]
from steerlab.evaluation import mean_fluency, on_topic, usable

held_out = [i for i, keep in enumerate((~for_training).tolist()) if keep]
judge_words = words_of_topics(
    settings.topics, [texts[i] for i in held_out], [labels[i] for i in held_out]
)


def mean_differences(inputs, labels):
    classes = range(len(topics))
    return unit(
        torch.stack([inputs[labels == c].mean(0) - inputs[labels != c].mean(0) for c in classes])
    )


fitted, fitted_topic = inputs[train], topic[train]
covariance = fitted.T @ fitted / len(fitted)  # of centred inputs
dealt = fitted_topic[torch.randperm(len(fitted), generator=torch.Generator().manual_seed(1))]
directions = {
    "CAV": cavs,
    "mean difference": mean_differences(fitted, fitted_topic),
    "pattern": unit(cavs @ covariance),
    "shuffled labels": mean_differences(fitted, dealt),
    "isotropic": unit(torch.randn(cavs.shape, generator=torch.Generator().manual_seed(2))),
}
controls = ["shuffled labels", "isotropic"]
print("cosine, mean over topics:  with the CAV   with the mean difference")
for name, vectors in directions.items():
    pair = [
        torch.cosine_similarity(vectors, directions[other], dim=1).mean()
        for other in ("CAV", "mean difference")
    ]
    print(f"  {name:24} {pair[0]:+.2f}          {pair[1]:+.2f}")

# %% tags=["explore"]
n_each = max(1, settings.n_topic_writings // len(topics))  # texts for each topic
doses = [settings.dose * step / 4 for step in (2, 3, 4)]


def topic_rate(texts_by_topic):
    """Share of texts that are on their own topic, mean over topics."""
    rates = [
        sum(on_topic(text, judge_words[name]) for text in some) / len(some)
        for name, some in zip(topics, texts_by_topic, strict=True)
    ]
    return sum(rates) / len(rates)


def measured(vectors, doses, model=model, stream_norm=stream_norm):
    """For each dose (on-topic rate, fluency) of texts pushed along one vector for each topic."""
    pushes = [cav_intervention(v, dose, stream_norm) for dose in doses for v in vectors]
    done = written(pushes, n_each, model)
    found = []
    for start in range(0, len(done), len(topics)):
        by_topic = done[start : start + len(topics)]
        cost = mean_fluency(model, [text for some in by_topic for text in some])
        found.append((topic_rate(by_topic), cost))
    return found


[(plain_rate, plain)] = measured(cavs, [0.0])
results = {name: measured(vectors, doses) for name, vectors in directions.items()}
plots.methods_by_dose(
    doses,
    {name: [rate for rate, _ in row] for name, row in results.items()},
    {name: [cost.nll - plain.nll for _, cost in row] for name, row in results.items()},
    best_writer,
    unsteered=plain_rate,
    controls=controls,
    n=f"{n_each} texts × {len(topics)} topics a point, layer {settings.layer}",
)
if best_writer.filled:
    print("on-topic rate, NLL rise (* not usable)")
    print("dose  " + "".join(f"{name:>18}" for name in results))
    for i, dose in enumerate(doses):
        cells = [
            f"{rate:.2f}, {cost.nll - plain.nll:+.2f}{' ' if usable(cost, plain) else '*'}"
            for rate, cost in (row[i] for row in results.values())
        ]
        print(f"{dose:.2f}  " + "".join(f"{cell:>18}" for cell in cells))
    ranked = sorted(("CAV", "mean difference", "pattern"), key=lambda m: -results[m][0][0])
    print(best_writer.beside(ranked[0]))

# %% [markdown]
# Read the left half first. At equal dose the CAV is the *weakest* of the three, though it was made to
# separate the topics. Its cosine with the mean difference is 0.66, so a good part of its length points
# elsewhere: at what a reader has to subtract. The pattern and the mean difference lie close to each
# other, and that is no accident: multiplied by the covariance, a normal turns back towards the
# difference of the means. The two control families stay near the unsteered texts, so it is not the push
# as such.
#
# Now the right half: the same texts, by what they cost. There the three curves come much closer
# together. Per unit of length the mean difference pushes harder, and it also breaks the text sooner.
# "Which direction is best?" has no answer before you say *at equal what*. A CAV at a larger dose is
# about as good a way to write about the ocean as any.

# %% [markdown]
# ## Part 7 · Does the model use it?
# *40 minutes, 6 points*
#
# Steering shows that a push *can* change the text. It was a big push. The founding paper of CAVs asks
# a gentler question: when the model reads an ordinary text about the ocean, would a *tiny* step along
# the CAV make ocean words more likely next? That is a derivative, and automatic differentiation gives
# it without any step at all.
#
# Let $p$ be the probability that the next token is one of a set of **targets**, say the words of a
# topic. The **sensitivity** of a text to a vector $v$ is the directional derivative
#
# $$S = \sum_{t > 0} \nabla_{x_t} \log p \,\cdot\, v.$$
#
# The sum runs over all positions of the text but position 0, because a push acts at all of them. The
# targets are one event, so $p$ is the *sum* of their probabilities, and $\log p$ is the `logsumexp` of
# their log-probabilities. Why $\log p$ and not the logit? Adding 5 to *all* logits changes nothing
# about what the model will say, but it changes every logit.
#
# How do you get a gradient towards the stream, in the middle of a model? With a hook that adds a
# tensor of *zeros* to it and keeps that tensor. If the zeros have `requires_grad=True`, then
# `torch.autograd.grad(total, zeros)` says how `total` would change if they were not zero, which is
# what we want to know. `total` may be the sum over the texts of a batch: no text reads another one, so
# each row gets its own gradient.
#
# ```python
# def pushed(resid, hook): ...             # gets the stream, returns what takes its place
#
# with model.hooks(fwd_hooks=[(hook_name, pushed)]):
#     logits = model(..., attention_mask=...)          # [batch, pos, vocabulary]
# gradients = torch.autograd.grad(total, [zeros])      # one for each tensor of the list
# ```
#
# The texts are padded on the left, so that the *last* column of the tensor is the last token of every
# text.


# %% nbgrader={"grade": false, "grade_id": "sensitivities", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 04_cav/sensitivities
def sensitivities(
    model: TransformerBridge,
    tokens: Int[Tensor, "text pos"],
    attention_mask: Int[Tensor, "text pos"],
    hook_name: str,
    targets: Int[Tensor, "target"],
    vectors: Float[Tensor, "vector d_model"],
) -> Float[Tensor, "text vector"]:
    """Derivative of each text's log-probability of the targets along each vector.

    The log-probability is that of the event "the token after the text is one of `targets`". The
    derivative is towards the residual stream at hook_name: entry [i, j] is the gradient, summed over
    the positions of text i without position 0 and padding, times vectors[j] as it is. The texts are
    left-padded. No hook stays on the model.
    """
    ### BEGIN SOLUTION
    # canary-a7207f533140f7e1040d6514223b14f9
    nudges = []

    def nudge(resid, hook):
        nudges.append(torch.zeros_like(resid, requires_grad=True))
        return resid + nudges[-1]

    with model.hooks(fwd_hooks=[(hook_name, nudge)]):
        logits = model(tokens, attention_mask=attention_mask)
    log_p = logits[:, -1].float().log_softmax(dim=-1)[:, targets].logsumexp(dim=-1)
    [gradient] = torch.autograd.grad(log_p.sum(), nudges)
    position = attention_mask.cumsum(dim=1) - 1
    counted = gradient.float().masked_fill((position <= 0)[..., None], 0.0)
    return counted.sum(dim=1) @ vectors.T
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "sensitivities_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 04_cav/sensitivities  (hidden tests run here when your work is graded)

# %%
checks.check_sensitivities(sensitivities, model)

# %% [markdown]
# <details><summary>"One of the differentiated tensors does not require grad": what is wrong?</summary>
#
# The model's weights are frozen, so nothing in the pass needs a gradient unless you bring something
# that does. Make the zeros with `torch.zeros_like(resid, requires_grad=True)` *inside* the hook,
# return `resid + zeros`, and keep the zeros in a list that the code after the pass can see. And do not
# run the pass under `torch.no_grad()`.
# </details>
#
# <details><summary>How do I get the log-probability of a set?</summary>
#
# `logits[:, -1].log_softmax(dim=-1)` holds the log-probabilities of all next tokens,
# `[:, targets]` those of the set, and `.logsumexp(dim=-1)` is the logarithm of the sum of their
# exponentials, computed without overflow.
# </details>
#
# ### Concepts that do not exist
#
# The sign of a derivative is never in doubt: it is positive or negative for *every* vector, a
# meaningless one too. So how do we know that a CAV's signs mean something? By asking CAVs of concepts
# that do not exist. Keep the texts, shuffle the yes/no labels among them, fit an SVM: a **random CAV**.
# It has been through everything that a true one has been through, on the same texts, with as many of
# them called "the concept". Only the concept is missing.


# %% nbgrader={"grade": false, "grade_id": "random_cavs", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 04_cav/random_cavs
def random_cavs(
    inputs: Float[Tensor, "text d_model"],
    is_concept: Bool[Tensor, "text"],
    n: int,
    seed: int,
    cost: float,
) -> Float[Tensor, "n d_model"]:
    """n CAVs of concepts that do not exist: true labels, dealt out anew to the same texts for each.

    Each is the normal, of length 1, of a LinearSVC(C=cost) fitted to all inputs; as many texts are
    called the concept as is_concept has. The same seed gives the same CAVs, another seed others.
    inputs and is_concept stay as they are.
    """
    ### BEGIN SOLUTION
    # canary-a7207f533140f7e1040d6514223b14f9
    generator = torch.Generator().manual_seed(seed)
    svm = LinearSVC(C=cost, max_iter=20_000, random_state=0)
    normals = []
    for _ in range(n):
        shuffled = is_concept[torch.randperm(len(is_concept), generator=generator)]
        svm.fit(inputs.numpy(), shuffled.numpy())
        normals.append(torch.from_numpy(svm.coef_[0]).float())
    drawn = torch.stack(normals)
    return drawn / drawn.norm(dim=1, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "random_cavs_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 04_cav/random_cavs  (hidden tests run here when your work is graded)

# %%
checks.check_random_cavs(random_cavs)

# %% [markdown]
# <details><summary>Texts and labels: which of them do I shuffle?</summary>
#
# One of them. `order = torch.randperm(...)`, then `is_concept[order]` with the inputs as they are. If
# both go through the same permutation, every text keeps its own label, and nothing has been shuffled
# but the order of the rows.
# </details>
#
# <details><summary>Why are all my random CAVs the same?</summary>
#
# A generator that is seeded *inside* the loop starts from the beginning at every turn. Make it once,
# before the loop.
# </details>
#
# ### The score and the test
#
# The **TCAV score** of a vector is the share of texts with $S > 0$. Not the mean of $S$: a single text
# with a huge derivative would settle that.
#
# Which side of a shuffle is "the concept" is a toss, so a random CAV is as likely to score 0.9 as 0.1,
# and what makes a score stand out is its distance from **one half**. The rank p-value of a concept
# counts how many of $n$ random CAVs lie at least as far out, *on either side*; the concept itself
# counts as one of $1 + n$:
#
# $$p = \frac{1 + \#\{\, j : |r_j - \tfrac12| \ge |s - \tfrac12| \,\}}{1 + n}.$$
#
# And if twelve concepts are tested, one of them will look special by luck. The simplest correction
# (Bonferroni) multiplies each p-value by the number of concepts, and cuts at 1. (Kim et al. fit every
# CAV many times over and compare with a t-test. A rank asks for less: no bell curves, and one fit.)


# %% nbgrader={"grade": false, "grade_id": "tcav_test", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 04_cav/tcav_test
def tcav_test(
    sensitivity: Float[Tensor, "text concept"], random_sensitivity: Float[Tensor, "text random"]
) -> tuple[Float[Tensor, "concept"], Float[Tensor, "concept"]]:
    """TCAV scores of some concepts, and their p-values against random CAVs.

    A score is the share of texts with a positive sensitivity. p is the two-sided rank p-value around
    one half, random CAVs exactly as far out included, times the number of concepts, at most 1.
    Returns (scores, p). Raises ValueError for fewer than 50 random CAVs.
    """
    ### BEGIN SOLUTION
    # canary-a7207f533140f7e1040d6514223b14f9
    n_texts, n_random = random_sensitivity.shape
    if n_random < 50:
        raise ValueError(f"{n_random} random CAVs; at least 50 are needed")
    positive, chance = (sensitivity > 0).sum(dim=0), (random_sensitivity > 0).sum(dim=0)
    # Twice the distance from one half, in texts: whole numbers, so that ties are ties.
    far, far_by_chance = (2 * positive - n_texts).abs(), (2 * chance - n_texts).abs()
    as_far = (far_by_chance[None] >= far[:, None]).sum(dim=1)
    p = (1 + as_far) / (1 + n_random) * len(positive)
    return positive / n_texts, p.clamp(max=1.0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "tcav_test_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 04_cav/tcav_test  (hidden tests run here when your work is graded)

# %%
checks.check_tcav_test(tcav_test)

# %% [markdown]
# ### Predict: are fifty random CAVs enough?
#
# Your function refuses fewer than 50. Suppose that one of your concepts lies further out than *every*
# random CAV, the best result that there can be, and that you test twelve concepts at once. How many
# random CAVs do you need at least, so that its corrected p can be 0.05 or less? Guess first, then work
# it out.

# %% tags=["predict"]
answer = 50  # a whole number
enough = predict(
    "For 12 concepts, the smallest number of random CAVs with which a corrected p of 0.05 is possible:",
    answer,
    key="enough",
    low=1,
    high=10_000,
)

# %% tags=["explore"]
# Part 3 not finished yet? The way round at the beginning of Part 5 serves here, too.
from steerlab.tcav import target_tokens

target_topic = topics[0]


def begun(name):
    """Up to 32 held-out texts about a topic, each cut in the middle, as one batch."""
    own = [texts[i] for i in held_out if labels[i] == name][:32]
    limit = min(int(model.cfg.n_ctx), settings.max_text_tokens)
    rows = [encode(model, text)[:limit] for text in own]
    return pad_left(model, [row[: max(4, len(row) // 2)] for row in rows])


def sensitivity(name, vectors):
    """Your derivatives for held-out texts about a topic, whose words are the targets."""
    batch, device = begun(name), model.cfg.device
    targets = target_tokens(model, judge_words[name]).to(device)
    found = sensitivities(
        model, batch.tokens, batch.attention_mask, hook_name, targets, vectors.to(device)
    )
    return found.cpu()


n_random = 20 * len(topics) + 59  # enough for a corrected p of 0.05, and some more
some = torch.arange(len(fitted)) < 180  # from fewer texts than the CAVs: they are many
by_chance = random_cavs(fitted[some], fitted_topic[some] == 0, n_random, 0, COST)
chance_sensitivity = sensitivity(target_topic, by_chance)
scores, p = tcav_test(sensitivity(target_topic, cavs), chance_sensitivity)
if enough.filled:
    print(enough.beside(20 * len(topics) - 1))
    plots.tcav_scores(
        dict(zip(topics, scores.tolist(), strict=True)),
        dict(zip(topics, p.tolist(), strict=True)),
        (chance_sensitivity > 0).float().mean(dim=0).tolist(),
        target=f"a word of {target_topic!r} comes next",
        n=f"{len(chance_sensitivity)} held-out texts about {target_topic}, {n_random} random CAVs",
    )
else:
    print(enough.waiting())

# %% [markdown]
# *The prediction.* With $n$ random CAVs the smallest p is $1/(1+n)$, and times twelve that is to be at
# most 0.05, so $n \ge 239$. With fifty, **no result whatever** could be significant: the smallest
# corrected p is $12/51 = 0.24$. A study with twelve concepts and fifty random CAVs has its null result
# before the model is loaded.
#
# *The histogram.* Had you thought of chance as "about one half"? Random CAVs score anything from 0 to 1.
# All texts here are about the same topic and have the same targets, so their gradients share a
# direction, and any vector lies on one side of it or the other, for most texts at once. A TCAV score of
# 0.9, which looks like a finding, is within what CAVs of nothing reach.
#
# ### A result that fails
#
# One topic is an anecdote. Let every topic be the target in turn, with held-out texts about it, and
# ask only for its *own* CAV. We know a good deal about these CAVs already: each separates its topic
# from eleven others, and pushing along it makes the model write about it. If the test is worth
# something, it should find every one of them.

# %% tags=["explore"]
own_scores, own_p, mean_p = {}, {}, {}
for number, name in enumerate(topics):
    both = sensitivity(name, torch.cat([cavs[number : number + 1], by_chance]))
    own, chance = both[:, :1], both[:, 1:]
    score, p_alone = tcav_test(own, chance)
    own_scores[name] = float(score)
    own_p[name] = min(1.0, float(p_alone) * len(topics))
    # The same rank test, with the mean derivative in the place of the share.
    as_far = int((chance.mean(dim=0).abs() >= own.mean().abs()).sum())
    mean_p[name] = min(1.0, (1 + as_far) / (1 + n_random) * len(topics))
plots.tcav_scores(
    own_scores,
    own_p,
    (chance > 0).float().mean(dim=0).tolist(),
    target=f"each topic's own words (random CAVs: {topics[-1]})",
    n=f"up to 32 held-out texts a topic, {n_random} random CAVs",
)
print("corrected p     by the share of texts   by the mean derivative")
for name in topics:
    print(f"{name:15} {own_p[name]:.3f}                   {mean_p[name]:.3f}")

# %% [markdown]
# Ten of the twelve topics are **not** found. Their scores could hardly be higher, from 0.94 up to 1; but
# CAVs of nothing get there too. Yet the very same derivatives, tested by their *mean* in the place of
# their share, single out every topic at the smallest p that there can be. So the sensitivity is there,
# and the score throws it away. A share of signs ends at 1, however large the derivatives are. A random
# vector that happens to lie on the right side of what all these gradients have in common gets nearly all
# signs right, and so nearly the full score. The true CAV has derivatives many times as *large*, and size
# is what a sign leaves out.
#
# That does not make the mean the right measure always: one huge derivative can carry it, which is why
# the score counts signs to begin with. And more random CAVs do not help, since the scores overlap. The
# lesson is another: **a test that does not find something you know to be there tells you about the
# test.** Always run it once on a case where you know the answer.

# %% [markdown]
# ## Part 8 · A borrowed CAV, and a prompt without an end
# *20 minutes*
#
# ### Fitted on one model, used in another
#
# The source fitted its CAVs on the *base* model, `gemma-2-2b`, and added them to the stream of its
# instruction-tuned sister, `gemma-2-2b-it`. Its one comment on this is that the base model seems to
# work better. May one do that? The two have the same architecture, and tuning has moved the weights
# only a little, so their streams might still use the same directions. It is a claim that can be
# tested: fit CAVs on both, compare, and steer the sister with each.
#
# What the next cell runs depends on `MODEL`, and it prints which of these it did:
#
# - `"tiny"` (and any unknown folder): a sister is made on the spot. A second copy of the model is
#   trained for a few steps to take an instruction as one turn of a chat and to carry it out in the
#   next, a form in which it has never seen instructions. The *base* is the model that you have used
#   all along.
# - `"gemma-2-2b-it"`: the real pair of the source. CAVs are fitted on `gemma-2-2b`, which is loaded
#   beside it (about 10 GiB for both). The course has *not* run this pair; you are the first to know.
# - any other: nothing, since no sister is known.
#
# One mistake costs hours here: vectors of another model fit only if its stream is as wide, and even
# then they mean nothing unless the two are sisters. So the widths are compared first.

# %% tags=["explore"]
from steerlab.data import generate as draw_documents


def check_widths(vectors, other):
    """Refuse vectors that cannot belong to this model's stream."""
    if vectors.shape[1] != other.cfg.d_model:
        raise ValueError(
            f"the CAVs are {vectors.shape[1]} wide, the stream of this model is {other.cfg.d_model}"
        )


def as_chat(document):
    """An instruction and what follows it, as two turns of a chat."""
    instruction, _, rest = document.text.partition("\n")
    return f"User: {instruction}\nAssistant: {rest}"


def tuned_on_chats(n_steps=40, batch_size=16, rate=1e-3):
    """A second copy of the model, tuned to take instructions as turns of a chat."""
    copy = load_model(MODEL)
    documents = draw_documents(n_steps * batch_size, 11, register="haiku")
    for parameter in copy.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(copy.parameters(), lr=rate)
    losses = []
    for start in range(0, len(documents), batch_size):
        chats = [as_chat(document) for document in documents[start : start + batch_size]]
        batch = pad_left(copy, [encode(copy, chat) for chat in chats])
        log_p = copy(batch.tokens, attention_mask=batch.attention_mask)[:, :-1].log_softmax(-1)
        nll = -log_p.gather(-1, batch.tokens[:, 1:, None])[..., 0]
        loss = nll[batch.attention_mask[:, :-1].bool()].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    for parameter in copy.parameters():
        parameter.requires_grad_(False)
    print(
        f"run: a copy of {settings.name!r}, {n_steps} steps on instructions in the form of chats,"
    )
    print(f"loss on these {losses[0]:.2f} before and {sum(losses[-5:]) / 5:.2f} nats a token after")
    return copy


base = sister = None
if settings.base is not None:
    base, sister = load_model(settings.base), model
    print(f"run: CAVs of {settings.base!r}, used in {settings.name!r}")
elif settings.topics == "concepts":
    base, sister = model, tuned_on_chats()
else:
    print(f"not run: the course knows no sister of {settings.name!r}")

if sister is not None:

    def cavs_of(some_model):
        """CAVs of the first half of the texts, and their accuracy, on another model."""
        means_at, kept = text_means(texts, [hook_name], some_model)
        rows, use = prepare(means_at[hook_name], for_training[kept]), for_training[kept]
        return fit_cavs(rows, text_topic[kept], use, COST)

    base_cavs, base_accuracy = (cavs, accuracy) if base is model else cavs_of(base)
    sister_cavs, sister_accuracy = (cavs, accuracy) if sister is model else cavs_of(sister)
    check_widths(base_cavs, sister)
    alike = torch.cosine_similarity(base_cavs, sister_cavs, dim=1)
    print(f"cosine of a CAV with the sister's: {alike.min():.2f} to {alike.max():.2f}")
    print(f"accuracy: base {base_accuracy:.3f}, sister {sister_accuracy:.3f}")
    sister_norm = residual_norm(sister, hook_name, [prompt], mode=settings.mode)
    [(before, sister_plain)] = measured(base_cavs, [0.0], sister, sister_norm)
    used = {"the base's CAVs": base_cavs, "its own CAVs": sister_cavs}
    used["isotropic"] = directions["isotropic"]
    few = doses[:2]
    rows = {name: measured(v, few, sister, sister_norm) for name, v in used.items()}
    plots.methods_by_dose(
        few,
        {name: [rate for rate, _ in row] for name, row in rows.items()},
        {name: [cost.nll - sister_plain.nll for _, cost in row] for name, row in rows.items()},
        unsteered=before,
        controls=["isotropic"],
        n=f"{n_each} texts × {len(topics)} topics a point, in the sister",
    )
    try:
        check_widths(cavs[:, :-1], sister)
    except ValueError as refusal:
        print("refused:", refusal)

# %% [markdown]
# The vectors of the two models are much alike, with cosines around 0.87, and the borrowed ones steer the
# sister as well as its own do, within what a hundred texts a point can tell (a standard error of 0.05).
# Directions drawn at random do nothing. So for this pair the answer is yes.
#
# Be careful how far you carry it. Forty steps took the loss on the new form from 4.4 nats to below 1, but
# they are forty steps on one kind of text; a real tuning is many thousand times as long. For
# `gemma-2-2b` and its sister this notebook has shown *how to ask*, and nothing about the answer.

# %% [markdown]
# ### Debug the source: a prompt without an end
#
# To talk to the tuned model, the source wrapped the prompt with `apply_chat_template` and left out
# `add_generation_prompt=True`. The **generation prompt** is the bit of text that opens the
# assistant's turn. Below, some questions end with it and some without. **Before you run it:** what
# will a model write that has read a question and no sign that it is its turn?

# %% tags=["explore"]
questions, ended = [], None
if settings.mode == "chat":
    questions = list(settings.prompts)

    def ended(question, generation_prompt):
        return model.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=generation_prompt,
            tokenize=False,
        )

elif settings.topics == "concepts":
    chats = draw_documents(8, 12, register="chat")
    questions = [chat.text.split("\nAssistant:")[0] for chat in chats]

    def ended(question, generation_prompt):
        return question + "\nAssistant:" * generation_prompt

else:
    print(f"not run: {settings.name!r} has no form for chats")

for generation_prompt in (True, False) if questions else ():
    prompts = [ended(question, generation_prompt) for question in questions]
    answers = generate(model, prompts, max_new_tokens=12)
    print(f"generation prompt: {generation_prompt}")
    for question, answer in zip(prompts[:3], answers[:3], strict=True):
        print(f"  {question[-40:]!r} → {answer.text!r}")
    own_header = sum("ssistant" in answer.text for answer in answers)
    print(f"  the answer contains a header of its own: {own_header} of {len(answers)}\n")

# %% [markdown]
# Where its turn has not been opened, the model opens it by itself: after a finished question, a header is
# the only thing that it has ever seen. In this small world the damage is that the first tokens of every
# answer are spent on the header, and steered while they are written. In the source, that is part of the
# 64 tokens that are shown, all of them pushed. A larger model has more ways to go on: nothing says that
# the *user* has finished, so it may add to the question, or answer in the user's voice. It raises no
# error, and the text looks nearly right, which is why this defect is so common. The library's
# `mode="chat"` always adds the generation prompt, and exactly one BOS.

# %% [markdown]
# ## Part 9 · In your own words
# *20 minutes, 5 points*
#
# A friend shows you this: *"I took 40 court rulings and 40 news stories, averaged the activations of
# layer 20 over all tokens and fitted a linear SVM. It gets 97% right, so layer 20 represents legal
# language. The TCAV score for the word 'guilty' is 0.9, so the model uses that representation to decide
# about guilt. And when I add the vector with strength 525, it writes like a lawyer."*
#
# In about 200 words: take the **three** claims (represents, uses, writes) one by one. For each, name
# one thing that would make the result look like this even if the claim were false, and the
# measurement or control that would show it, with the outcome that would change your mind. Use at least
# two numbers from *your own* figures above. Close with one sentence: what may your friend claim, if
# all three controls turn out well?

# %% [markdown] nbgrader={"grade": true, "grade_id": "written", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# <!-- graded: 04_cav/written -->
#
# ### BEGIN SOLUTION
#
# canary-a7207f533140f7e1040d6514223b14f9
#
# *Represents.* Two piles of 40 texts in thousands of dimensions can be separated whatever their labels
# are, and court rulings use court words: my CAVs reached 0.94 *before block 0*, where the model has
# computed nothing. I would ask for held-out accuracy, beside shuffled labels (mine fell to guessing,
# 0.08) and a bag of words. If the accuracy at layer 20 is no higher than before block 0, the layer gets
# no credit. Rulings may also simply be longer: match the lengths. *Uses.* Random CAVs score 0.9 too; in
# my test only two of twelve topics got a corrected p below 0.05 although all scored above 0.9. I would
# fit at least 99 random CAVs on shuffled labels, two-sided; if a tenth of them score as high, the 0.9 is
# nothing. *Writes.* 525 is no dose. I would divide by the length of the stream, put the NLL beside it,
# and push along shuffled-label directions and the mean difference at the same dose. At dose 0.4 my CAV
# had 0.95 of the texts on topic, and cost 1.07 nats a token: not usable. If shuffled directions write
# like lawyers, it is not the concept.
#
# *What may be claimed:* legal texts are linearly separable from news at layer 20 on held-out texts, and
# a push along the CAV at a usable dose makes this model write more legal text than comparable pushes do.
# That the model decides about guilt by it is another claim.
#
# ### END SOLUTION

# %% [markdown] tags=["author"]
# **Rubric for the written question (5 points)**
#
# | points | for |
# |---|---|
# | 3 | one for each claim, if a sound alternative is named *with* a control that fits it *and* an outcome that would decide. Half a point where the control is named but not what it would show. Sound for *represents*: held-out accuracy not reported; 80 texts in thousands of dimensions separate under any labels (shuffled labels); words alone suffice (layer 0, bag of words); length, author or format confounded; BOS and prefix in the mean; no centring. Sound for *uses*: random CAVs score 0.9 too; p uncorrected or one-sided; target a single word; the score is a share of signs, not a size; a derivative is no intervention. Sound for *writes*: 525 is no dose; fluency not measured; no control directions at the same length; not compared with the mean difference; the judge's words are those of the training texts. |
# | 1 | two numbers from the student's own figures, quoted with what they are (a bare number: half) |
# | 1 | a last sentence that claims what was measured (separable on held-out texts, sensitive beyond chance, steerable at a usable dose) and not that the model decides by it |
#
# Do not grade style or length.

# %% [markdown]
# ## Bonus
# *no points*
#
# 1. **Correct more cleverly.** Bonferroni multiplies every p-value by the number of tests. Holm (1979)
#    multiplies the smallest by 12, the next by 11, and so on, and is never worse. Write it, and see
#    whether another concept passes (`steerlab.tcav.tcav_test` uses it).
# 2. **Real posts.** With a network, `topic_texts("newsgroups", 1200, seed=0)` gives posts from twenty
#    discussion groups, and `MODEL = "gpt2"` a model that can read them. Which pairs of groups have
#    the largest cosine? How many posts does a `skip` of 64 tokens leave without a mean?
# 3. **Where does the difference come from?** Make the SVM's `cost` smaller and smaller. What does the
#    CAV turn into? (Compare it with the mean difference.) Does steering follow?
# 4. **A concept of your own.** Two piles of 40 texts of your own making, about anything. Fit, judge on
#    held-out texts, test against random CAVs, steer.
#
# ## What to keep
#
# - A concept is what is on the pile. Look at the pile.
# - A text without a token to average has no mean. Drop it and say so; never let NaN or zero stand for
#   it.
# - Centre and scale by the training texts, and by nothing else.
# - Held-out accuracy says that information is there. It does not say who put it there or who reads it.
# - A normal separates, a pattern describes. To push, try the plain mean difference first.
# - A sign is never undecided, so a share of signs needs random CAVs beside it: enough of them for the
#   number of tests.
#
# **Sources.** Kim et al. 2018, *Interpretability Beyond Feature Attribution: Quantitative Testing with
# Concept Activation Vectors*. Haufe et al. 2014, *On the interpretation of weight vectors of linear
# models in multivariate neuroimaging*. Holm 1979, *A Simple Sequentially Rejective Multiple Test
# Procedure*. Lang 1995, *NewsWeeder* (the 20 Newsgroups). The defects are those of a notebook by M. G.
# Jørgensen, *Sparse Autoencoders for Model steering*, whose second half this assignment grew out of.
