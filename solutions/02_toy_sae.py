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
# # 02 · Training a sparse autoencoder
#
# A steering vector needs a question: you ask where happy and unhappy sentences differ, and get one
# direction. But what if you do not know what to ask? A model has learnt about rivers and kitchens,
# brackets and rudeness, the third line of a haiku and the day of the week, and all of that passes
# through the same hundred or few thousand numbers. Is there a way to read off *everything* that is
# going on at a word, as a short list of things that are present?
#
# A **sparse autoencoder** (SAE) tries. It rewrites each vector of the residual stream as a sum of a
# few directions out of a long list, and it learns the list from the vectors alone, without labels.
# On many of the directions that come out one can put a name. In this notebook you build one from
# four tensors, train it on a model in well under a minute, and look at what it found. And you learn
# what it has *not* shown when the list looks good.
#
# **Afterwards you can**
#
# - say why single coordinates of a residual stream mean little, and what superposition is;
# - write a sparse autoencoder, its loss and its training, and say what each choice is for;
# - judge one by four numbers, and know how each of them can be fooled;
# - find out what a feature stands for, without falling for its best examples;
# - name the baselines without which "we found 1,000 features" says nothing.
#
# **You need** Python and PyTorch, with gradients this time: an optimizer, a loss, `backward()`. From
# notebook 01 you need the residual stream and hook points; nothing else is assumed.
#
# | part | | minutes | points |
# |---|---|---|---|
# | 1 | More features than dimensions | 10 | – |
# | 2 | The autoencoder | 25 | 4 |
# | 3 | What it is asked for | 15 | 2 |
# | 4 | Training, where we know the truth | 30 | 4 |
# | 5 | Four numbers | 20 | 3 |
# | 6 | A language model | 20 | – |
# | 7 | What does a feature stand for? | 25 | 2 |
# | 8 | Two defects to find, and one result that fails | 25 | – |
# | 9 | A threshold in place of a price | 10 | – |
# | 10 | In your own words | 20 | 5 |
#
# **How to work.** As in notebook 01: run the cells from top to bottom, replace the line under
# `YOUR CODE HERE`, and read what the check after it says. Checks give no points; the points come
# from other inputs when your work is graded. Where you are asked to *predict*, the figure waits for
# your answer, and a wrong answer costs nothing.
#
# **If a function will not come right**, go on and come back later. The graded functions do not call
# one another, so that one mistake costs the points of one. What you *see* depends on more of them:
# the trainings of Parts 4, 6 and 8 need `init_sae`, `forward`, `sae_loss`, `schedule` and
# `train_sae`; the tables need `sae_scores`; cards and browser of Part 7 need `top_contexts`. Part 6
# has a way round for everything that stands before it.

# %% tags=["install"]
# install steerlab

# %% [markdown]
# One variable picks the model. `"tiny"` is the small model that comes with the course and runs
# anywhere; on a GPU, `"gpt2"` and others work too.

# %%
MODEL = "tiny"  # @param ["tiny", "gpt2", "gemma-2-2b", "gemma-2-2b-it", "qwen3-4b", "olmo-2-7b"] {allow-input: true}

# %%
import math

import torch
from jaxtyping import Float, Int
from steerlab import checks, course_settings, load_model, plots
from steerlab.predict import predict
from torch import Tensor

model = load_model(MODEL)  # together with the imports this takes about 15 seconds
settings = course_settings(model)

# %% [markdown]
# ## Part 1 · More features than dimensions
# *10 minutes*
#
# A residual stream of 128 numbers has room for 128 directions at right angles to each other. A
# model that keeps one fact on each of them could keep 128 facts. Models seem to do better, by a
# trick: at any one word nearly all facts are *absent*. This is no haiku, nobody is being rude, there
# is no bracket to close. If only a few things are present at a time, their directions need not be
# at right angles; it is enough that they do not get in each other's way *often*. So a model can use
# many more directions than it has dimensions. That is **superposition** (Elhage et al. 2022).
#
# In a real model nobody can show you those directions. So we begin in a world that we have made
# ourselves. `planted_features` draws 48 random directions in 24 dimensions. Every vector is the sum
# of a few of them: each is present with a probability of 5%, with a strength of its own.

# %% tags=["explore"]
from steerlab.data import planted_features

planted = planted_features(20_000, seed=0)
n_planted, width = planted.directions.shape
present = planted.activations > 0
overlaps = planted.directions @ planted.directions.T
others = ~torch.eye(n_planted, dtype=torch.bool)

print(f"{len(planted.x):,} vectors of {width} numbers, {n_planted} planted directions")
print(f"present in a vector, on average: {present.float().sum(1).mean():.1f} directions")
print(f"cosine of two directions: ±{overlaps[others].abs().mean():.2f} on average")
print(f"                   at most {overlaps[others].abs().max():.2f}")

reading = planted.x @ planted.directions[0]
plots.histograms(
    {"direction 0 is absent": reading[~present[:, 0]], "present": reading[present[:, 0]]},
    xlabel="vector · direction 0",
    title="Reading a planted direction by projecting onto it",
    n=f"{len(planted.x):,} vectors",
)

# %% [markdown]
# The two heaps overlap. Whoever knows direction 0 exactly and projects onto it still cannot tell
# whether it is present, since other directions, which are not at right angles to it, leak into the
# reading. And a single *coordinate* of the vector is worse: all 48 directions leak into it. That is
# why it says so little to look at "neuron 17 of the residual stream".
#
# What would help is a reader that looks at all directions at once and asks: **which few of them,
# added up, give this vector?** A **sparse autoencoder** is such a reader. And it has to find the
# directions as well, since nobody tells it.

# %% [markdown]
# ## Part 2 · The autoencoder
# *25 minutes, 4 points*
#
# An autoencoder is a network that is asked for its own input. It first writes the input $x$ (of
# `d_model` numbers) as a **code** $f$ of `d_sae` numbers, none of them negative, and then makes a
# **reconstruction** $\hat x$ from the code alone:
#
# $$f = \mathrm{ReLU}\big((x - b_\text{dec})\, W_\text{enc} + b_\text{enc}\big), \qquad
# \hat x = f\, W_\text{dec} + b_\text{dec}.$$
#
# | | shape | |
# |---|---|---|
# | `W_enc` | `[d_model, d_sae]` | column $i$ is the direction along which latent $i$ *reads* |
# | `b_enc` | `[d_sae]` | minus the threshold above which it speaks |
# | `W_dec` | `[d_sae, d_model]` | row $i$ is the direction that latent $i$ *writes* |
# | `b_dec` | `[d_model]` | what is there when nothing is present |
#
# An entry of the code is called a **latent**; if it turns out to stand for something, a
# **feature**. Two things are unlike other autoencoders. The code is *longer* than the input
# (`d_sae` is 8 times `d_model` on the model below), since there are more directions than dimensions.
# And it is to be *sparse*: nearly all of its entries zero. The ReLU makes exact zeros possible. What
# makes them happen comes in Part 3.
#
# We keep the four tensors in a dict. That is all that the autoencoder is.
#
# ### How to begin
#
# Training needs a start. A good one is: `W_dec` gets random directions, all of the same norm; `W_enc`
# is its transpose; the biases are zero. So each latent begins by reading the very direction that it
# writes, which makes its output useful from the first step. (Started apart from each other, many
# latents never find any use and stay silent for ever.)
#
# Only at the start, though. Reading and writing are different trades. To *write* direction $i$ you
# need direction $i$. To *read* it in a crowd, you do better to lean away from the neighbours that
# leak into it. So the two have to be free to part: `W_enc` is a **copy**.


# %% nbgrader={"grade": false, "grade_id": "init_sae", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 02_toy_sae/init_sae
def init_sae(directions: Float[Tensor, "d_sae d_model"], norm: float) -> dict[str, Tensor]:
    """An untrained autoencoder: {"W_enc", "b_enc", "W_dec", "b_dec"}, shapes as in the table.

    Row i of W_dec is directions[i], brought to the norm `norm`; W_enc starts as the transpose of
    W_dec, on memory of its own; both biases are zero. The tensors have the dtype and the device of
    directions, which itself stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-6c8c387ae13f6a16017f7a29bc201cd5
    W_dec = norm * directions / directions.norm(dim=1, keepdim=True)
    return {
        "W_enc": W_dec.T.clone(),
        "b_enc": directions.new_zeros(len(directions)),
        "W_dec": W_dec,
        "b_dec": directions.new_zeros(directions.shape[1]),
    }
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "init_sae_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 02_toy_sae/init_sae  (hidden tests run here when your work is graded)

# %%
checks.check_init_sae(init_sae)

# %% [markdown]
# <details><summary>How do I divide every row by its own norm?</summary>
#
# Take the norm over `d_model`. With `keepdim=True` the result has the shape `[d_sae, 1]`: one norm for
# each row, in a shape that broadcasts over the row when you divide.
# </details>
#
# <details><summary>What is the difference between a view and a copy?</summary>
#
# `W_dec.T` is a second way of looking at the same numbers in memory. An optimizer changes its
# parameters *in place*. Give it `W_dec` and `W_dec.T`, and every step changes the same numbers
# twice. No error is raised, the loss goes down, and reading and writing stay tied for ever.
# `W_dec.T.clone()` has numbers of its own.
# </details>
#
# <details><summary>Where do zeros of the right dtype and device come from?</summary>
#
# `directions.new_zeros(5)` makes five zeros like `directions`. (`torch.zeros(5)` makes float32 zeros
# on the CPU, which is not where a GPU wants them.)
# </details>

# %% [markdown]
# Now the two lines of the formula. The function returns the code as well as the reconstruction,
# because the loss needs both.


# %% nbgrader={"grade": false, "grade_id": "forward", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 02_toy_sae/forward
def forward(
    sae: dict[str, Tensor], x: Float[Tensor, "*batch d_model"]
) -> tuple[Float[Tensor, "*batch d_sae"], Float[Tensor, "*batch d_model"]]:
    """The code of x, and the reconstruction of x from the code.

    Any number of batch dimensions in front, or none; every vector is treated by itself. Gradients
    flow through both results to all four tensors of sae.
    """
    ### BEGIN SOLUTION
    # canary-6c8c387ae13f6a16017f7a29bc201cd5
    code = torch.relu((x - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"])
    return code, code @ sae["W_dec"] + sae["b_dec"]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "forward_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 02_toy_sae/forward  (hidden tests run here when your work is graded)

# %%
checks.check_forward(forward)

# %% [markdown]
# <details><summary>Which side does the matrix stand on?</summary>
#
# A row vector times a matrix: `x @ W` with `x` `[..., d_model]` and `W` `[d_model, d_sae]` gives
# `[..., d_sae]`. (`nn.Linear` keeps its weight the other way round and transposes it for you; that is
# why SAEs from different sources have transposed matrices.)
# </details>
#
# <details><summary>Why is <code>b_dec</code> taken off first and put back at the end?</summary>
#
# It is the point around which the directions fan out. If all vectors share a large constant part,
# then without this every latent would have to deal with it in its threshold.
# </details>

# %% [markdown]
# ### Predict: how sparse is it before training?
#
# An untrained SAE with random directions reads the planted vectors. What share of its latents, in
# percent, is *not* zero on an average vector?

# %% tags=["predict"]
answer = 20  # percent of the latents
untrained_prediction = predict(
    "Untrained, random directions: what share of the latents is active on an average vector?",
    answer,
    key="untrained_l0",
    unit="% of the latents",
    low=0,
    high=100,
)

# %% tags=["explore"]
start_norm = 0.1


def random_sae(d_sae, d_model, seed, norm=start_norm):
    """Your init_sae on random directions."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(d_sae, d_model, generator=generator)
    return init_sae(directions.to(model.cfg.device), norm)


untrained_toy = random_sae(n_planted, width, seed=1)
toy = planted.x.to(model.cfg.device)
with torch.no_grad():
    code, reconstruction = forward(untrained_toy, toy)
active = 100 * float((code > 0).float().mean())
if untrained_prediction.filled:
    print(untrained_prediction.beside(active))
    print(f"n = {len(toy):,} vectors, computed now")

# %% [markdown]
# <details><summary>Why that many? (Open this after you have seen the number.)</summary>
#
# With zero biases a latent is active whenever the vector lies on its side of a plane through the
# origin. For a random direction and a vector without a preferred side that is the case half of the
# time. Nothing in the *architecture* of a sparse autoencoder makes it sparse. The name says what it
# is trained for, not what it is.
# </details>

# %% [markdown]
# ## Part 3 · What it is asked for
# *15 minutes, 2 points*
#
# Two things: a good reconstruction, and a short code.
#
# **A good reconstruction.** The squared error $\lVert x - \hat x\rVert^2$, summed over the `d_model`
# coordinates of a token, and averaged over the tokens of the batch.
#
# **A short code.** We would like to charge for every latent that is not zero, but their number is a
# staircase: its slope is zero wherever it has one, and training follows slopes. So we charge for the
# *sum* of the activations instead, which falls as they fall and stops at zero. This is the **L1
# penalty**. Its price is called $\lambda$.
#
# There is a loophole. Make every activation ten times smaller and every row of `W_dec` ten times
# longer: the reconstruction is the same, the penalty a tenth. Training would find this out, and the
# penalty would soon mean nothing. So we charge for what a latent *adds to the reconstruction*: its
# activation times the norm of the row that it writes. Now nothing is to be gained by rescaling.
# Together (Conerly et al. 2024):
#
# $$\mathcal L = \frac1B \sum_{b=1}^{B} \Big[\; \lVert x_b - \hat x_b\rVert^2
# \;+\; \lambda \sum_{i} f_{b,i}\, \lVert W_{\text{dec},i}\rVert \;\Big].$$
#
# Mind what is a *sum* and what is a *mean*. The mean runs over tokens only. Over coordinates and
# over latents we sum. Somebody who averages over them as well trains with another $\lambda$ than the
# one that is written in the code; in Part 8 you will meet a notebook in which that went wrong.


# %% nbgrader={"grade": false, "grade_id": "sae_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 02_toy_sae/sae_loss
def sae_loss(
    x: Float[Tensor, "batch d_model"],
    x_hat: Float[Tensor, "batch d_model"],
    code: Float[Tensor, "batch d_sae"],
    W_dec: Float[Tensor, "d_sae d_model"],
    sparsity: float,
) -> Float[Tensor, ""]:
    """The loss of the formula above, with sparsity as λ: one number, as a tensor.

    Gradients flow to x_hat, to code and to W_dec.
    """
    ### BEGIN SOLUTION
    # canary-6c8c387ae13f6a16017f7a29bc201cd5
    error = (x - x_hat).square().sum(dim=1)
    penalty = code @ W_dec.norm(dim=1)
    return (error + sparsity * penalty).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "sae_loss_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 02_toy_sae/sae_loss  (hidden tests run here when your work is graded)

# %%
checks.check_sae_loss(sae_loss)

# %% [markdown]
# <details><summary>May I use <code>torch.nn.functional.mse_loss</code>?</summary>
#
# It averages over *all* entries unless told otherwise: over the batch, which is right, and over
# `d_model`, which is not. `reduction="sum"` and a division by the batch size is right.
# </details>
#
# <details><summary>Do I need <code>abs()</code> for the L1 norm?</summary>
#
# The code has no negative entries, so its sum is its L1 norm.
# </details>

# %% [markdown]
# Autoencoder and loss are two functions. The training wants one: something that takes the
# parameters, a batch and $\lambda$, and gives a number to make small.


# %% tags=["explore"]
def objective(sae, batch, sparsity):
    """Your loss of your autoencoder on a batch."""
    code, x_hat = forward(sae, batch)
    return sae_loss(batch, x_hat, code, sae["W_dec"], sparsity)


# %% [markdown]
# ## Part 4 · Training, where we know the truth
# *30 minutes, 4 points*
#
# ### A schedule
#
# Two settings change during the training.
#
# **λ warms up.** In the beginning the latents are random and of little use, while the penalty already
# bites. A latent that is driven to zero on every input gets no gradient any more, since the ReLU is
# flat there: it is **dead**, and stays so. So we let λ grow from nothing to its full value over the
# first fifth of the steps. With $n$ steps, counted $t = 0, 1, \dots, n-1$:
#
# $$\lambda_t = \lambda \cdot \min\!\Big(1, \frac{t}{n/5}\Big).$$
#
# **The learning rate decays.** Towards the end large steps only jitter around the goal. Over the last
# fifth the learning rate $\eta$ falls in a straight line. At step $t$ there are $n - t$ steps left,
# this one included:
#
# $$\eta_t = \eta \cdot \min\!\Big(1, \frac{n - t}{n/5}\Big).$$


# %% nbgrader={"grade": false, "grade_id": "schedule", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 02_toy_sae/schedule
def schedule(step: int, n_steps: int) -> tuple[float, float]:
    """The shares of λ and of the learning rate at a step, each between 0 and 1, λ's first.

    step counts from 0 to n_steps - 1; n_steps is at least 5 and need not be a multiple of 5.
    """
    ### BEGIN SOLUTION
    # canary-6c8c387ae13f6a16017f7a29bc201cd5
    fifth = n_steps / 5
    return min(1.0, step / fifth), min(1.0, (n_steps - step) / fifth)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "schedule_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 02_toy_sae/schedule  (hidden tests run here when your work is graded)

# %%
checks.check_schedule(schedule)

# %% [markdown]
# ### The loop
#
# One training step is: take a batch, compute the loss with this step's λ, take gradients, and let
# the optimizer move the parameters with this step's learning rate. The optimizer is **Adam**
# (`torch.optim.Adam` with its default settings), which keeps running averages of past gradients;
# so it is made once, before the loop.
#
# Your function is told which vectors make up the batch of each step (`rows`), λ and the learning
# rate of each step, and what to minimise. (`loss` is an argument, so that Part 8 can hand you
# somebody else's.) After each step it calls `watch(step, sae)` with the parameters as they are then,
# so that we can draw curves.
#
# Three traps lie here. `backward()` *adds* to the gradients that are there already. An optimizer keeps
# the learning rate that it was made with, until you change
# `optimizer.param_groups[0]["lr"]`. And the SAE that you are given must stay as it is: the untrained
# one is the baseline that everything is compared with.


# %% nbgrader={"grade": false, "grade_id": "train_sae", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 02_toy_sae/train_sae
def train_sae(
    sae: dict[str, Tensor],
    x: Float[Tensor, "token d_model"],
    rows: Int[Tensor, "step batch"],
    sparsities: list[float],
    learning_rates: list[float],
    loss,
    watch,
) -> dict[str, Tensor]:
    """Train a copy of sae with Adam, all four tensors, one step for each row of rows.

    Step t minimises loss(sae, x[rows[t]], sparsities[t]), a tensor, with the learning rate
    learning_rates[t], and then calls watch(t, sae) with the parameters as the step has left
    them. Returns the trained parameters, detached; the sae that was given stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-6c8c387ae13f6a16017f7a29bc201cd5
    sae = {name: tensor.clone().requires_grad_() for name, tensor in sae.items()}
    optimizer = torch.optim.Adam(sae.values())
    for step, chosen in enumerate(rows):
        for group in optimizer.param_groups:
            group["lr"] = learning_rates[step]
        optimizer.zero_grad()
        loss(sae, x[chosen], sparsities[step]).backward()
        optimizer.step()
        watch(step, sae)
    return {name: tensor.detach() for name, tensor in sae.items()}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "train_sae_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 02_toy_sae/train_sae  (hidden tests run here when your work is graded)

# %%
checks.check_train_sae(train_sae)

# %% [markdown]
# <details><summary>How do I make tensors trainable?</summary>
#
# `.clone()` gives a copy with numbers of its own, and `.requires_grad_()` says that gradients are to be
# collected for a tensor. Build a new dict of four such copies, hand its values to the optimizer, and
# use *that* dict in the loop.
# </details>
#
# <details><summary>Why must I not change the given dict?</summary>
#
# The dict and its tensors belong to the caller. `tensor.requires_grad_()` without `clone()` would make
# the caller's own tensors trainable, and the optimizer would then change them in place.
# </details>
#
# <details><summary>What does "detached" mean?</summary>
#
# A tensor that requires gradients makes PyTorch keep a record of everything computed with it.
# `tensor.detach()` gives the same numbers without that. After training nobody wants the record.
# </details>

# %% [markdown]
# Now train on the planted vectors. The helper below only puts your functions together.


# %% tags=["explore"]
def train_with(
    sae, x, n_steps, batch_size, sparsity, learning_rate, loss=objective, seed=0, watch=None
):
    """Your training, with your schedule, on batches drawn at random."""
    shares = [schedule(step, n_steps) for step in range(n_steps)]
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(x), (n_steps, batch_size), generator=generator).to(x.device)
    return train_sae(
        sae,
        x,
        rows,
        [sparsity * share for share, _ in shares],
        [learning_rate * share for _, share in shares],
        loss,
        watch or (lambda step, sae: None),
    )


toy_recipe = {"n_steps": 1000, "batch_size": 128, "sparsity": 2.0, "learning_rate": 5e-3}
toy_sae = train_with(untrained_toy, toy, **toy_recipe)
print({name: list(tensor.shape) for name, tensor in toy_sae.items()})

# %% [markdown]
# ### Predict: how many of them can be found?
#
# Has it found the directions that we planted? Here, and only here, we can look. Each planted
# direction is given one row of `W_dec`, and no row twice, in the way that makes the cosines largest
# in sum (the *Hungarian method*; Kuhn 1955). One to one, so that one row that lies near ten
# directions does not count ten times. A direction counts as found above a cosine of 0.9.
#
# The SAE has never seen the directions, nor how many there are, nor which were present where. It has
# seen sums of them, and 48 directions do not fit into 24 dimensions at right angles. What share of
# the 48, in percent, has it found?

# %% tags=["predict"]
answer = 50  # percent of the planted directions
recovery_prediction = predict(
    "48 directions in 24 dimensions: what share of them has the trained SAE found (cosine > 0.9)?",
    answer,
    key="recovery",
    unit="% of the directions",
    low=0,
    high=100,
)

# %% tags=["explore"]
from steerlab.sae import recovery

matched = {
    name: recovery(sae["W_dec"].cpu(), planted.directions).tolist()
    for name, sae in {"trained": toy_sae, "untrained": untrained_toy}.items()
}
plots.recovered_directions(
    matched,
    recovery_prediction,
    n=f"{n_planted} planted directions",
    title="Are the planted directions found?",
    ylabel="cosine with the row\nof W_dec matched to it",
)
if recovery_prediction.filled:
    found = 100 * sum(cosine > 0.9 for cosine in matched["trained"]) / n_planted
    print(recovery_prediction.beside(found))

# %% [markdown]
# The untrained row is the control. Random directions come out with cosines far from zero, because
# the best of 48 was picked for each. In fewer dimensions, or with a wider SAE, they come out higher still. A cosine
# means little until you know what chance gives.
#
# So where the world is what the method assumes, a sum of a few directions out of a fixed list, the
# method finds the list. Keep this in mind for Part 8, where we ask the same question of a model.

# %% [markdown]
# ## Part 5 · Four numbers
# *20 minutes, 3 points*
#
# On a model there are no planted directions to compare with. There are four numbers, and each of
# them can be had for nothing by giving up another:
#
# **FVU**, the *fraction of variance unexplained*. How much of what distinguishes the tokens is missing
# from the reconstruction? With $\bar x$ the mean token,
#
# $$\text{FVU} = \frac{\sum_t \lVert x_t - \hat x_t\rVert^2}{\sum_t \lVert x_t - \bar x\rVert^2}.$$
#
# 0 is perfect; 1 is what you get by always answering $\bar x$. Without the $\bar x$ below, that answer
# would look like an achievement, since residual streams share a large constant part. FVU is cheap: an
# autoencoder with `d_sae` ≥ 2 `d_model` that simply copies its input has FVU 0. So beside it stands
#
# **L0**, the number of latents that are not zero on a token, on average over the tokens. The copy
# has an L0 of `d_model`, and tells you nothing that the input did not.
#
# **Dead latents**: the share of all latents that fire on *no* token. A latent that fires on one token
# in ten thousand is rare, not dead, and may be the most interesting of all. So the number depends on
# how many tokens one has looked at, which belongs beside it.
#
# **Loss recovered.** An error that is small in squared length may hit just what the model needs. So
# we put $\hat x$ in place of $x$ in the running model and see how much worse it predicts. Three
# cross-entropies, in nats a token: *clean*, with the residual stream as it is; *spliced*, with the
# reconstruction in its place; *ablated*, with the mean residual in every place, so that the model
# knows nothing. Loss recovered is the part of the way from ablated to clean that the reconstruction
# makes good:
#
# $$\text{loss recovered} = \frac{\text{ablated} - \text{spliced}}{\text{ablated} - \text{clean}}.$$
#
# 1 means that nothing is lost. It flatters, too: the ablated model is so bad that 0.95 can still be a
# ruined one. Read it beside FVU, and never alone.


# %% nbgrader={"grade": false, "grade_id": "sae_scores", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 02_toy_sae/sae_scores
def sae_scores(
    x: Float[Tensor, "token d_model"],
    x_hat: Float[Tensor, "token d_model"],
    code: Float[Tensor, "token d_sae"],
    losses: tuple[float, float, float] | None,
) -> dict[str, float | None]:
    """The four numbers as plain floats: {"fvu", "l0", "dead", "loss_recovered"}.

    fvu as above, over all tokens at once; l0: latents that are not zero, mean over the tokens; dead:
    share of the latents, 0 to 1, that are zero on every token. losses is (clean, spliced, ablated);
    loss_recovered is None where losses is None.
    """
    ### BEGIN SOLUTION
    # canary-6c8c387ae13f6a16017f7a29bc201cd5
    spread = (x - x.mean(dim=0)).square().sum()
    fires = code != 0
    scores = {
        "fvu": float((x - x_hat).square().sum() / spread),
        "l0": float(fires.sum() / len(code)),
        "dead": 1 - float(fires.any(dim=0).float().mean()),
        "loss_recovered": None,
    }
    if losses is not None:
        clean, spliced, ablated = losses
        scores["loss_recovered"] = (ablated - spliced) / (ablated - clean)
    return scores
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "sae_scores_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 02_toy_sae/sae_scores  (hidden tests run here when your work is graded)

# %%
checks.check_sae_scores(sae_scores)

# %% [markdown]
# <details><summary>How do I count what is not zero?</summary>
#
# `code != 0` is a tensor of `True` and `False`. Summed, `True` counts 1. `.any(dim=0)` tells for each
# latent (each column) whether it is `True` anywhere.
# </details>
#
# <details><summary>My FVU differs from the check's, and only for some tokens.</summary>
#
# A ratio of sums is not a mean of ratios. Add up the squared errors of all tokens, add up the squared
# distances from the mean token, and divide once.
# </details>


# %% tags=["explore"]
def as_row(name, scores):
    """One line of a table of scores."""
    recovered = scores["loss_recovered"]
    shown = "   –  " if recovered is None else f"{recovered:6.3f}"
    fvu, l0, dead = (scores[key] for key in ("fvu", "l0", "dead"))
    return f"{name:26} {fvu:6.3f} {l0:7.1f} {100 * dead:6.1f}%  {shown}"


HEAD = f"{'':26} {'FVU':>6} {'L0':>7} {'dead':>7}  {'loss recovered':>6}"


def scores_of(sae, x, losses=None):
    """Your scores of an SAE on vectors."""
    with torch.no_grad():
        code, x_hat = forward(sae, x)
        return sae_scores(x, x_hat, code, losses)


fresh = planted_features(20_000, seed=0, draw=1)  # the same directions, other vectors
fresh_x = fresh.x.to(toy)
print(HEAD)
for name, each in {"planted, untrained": untrained_toy, "planted, trained": toy_sae}.items():
    print(as_row(name, scores_of(each, fresh_x)))
truth = (fresh.activations > 0).float().sum(1).mean()
print(f"{'present in truth':26} {'':6} {truth:7.1f}")
print(f"n = {len(fresh_x):,} vectors that were not trained on, computed now")

# %% [markdown]
# Read the two rows. Training has pressed L0 from half of all latents down to about the number of
# directions that are really present. It is not zero error, and Part 9 says where the rest comes from.
#
# Turn the two knobs: the price of an active latent (λ; it was 2), and how many latents there are (48
# directions were planted). The cell is a form on Colab; elsewhere change the values and run it again.
# What does a price near 0 do to L0, and a price of 10 to FVU?

# %% tags=["explore"]
# @title Your price, your size
my_price = 0.5  # @param {type: "slider", min: 0, max: 10, step: 0.25}
my_latents = 48  # @param {type: "slider", min: 8, max: 192, step: 8}

my_sae = random_sae(my_latents, width, seed=1)
my_sae = train_with(my_sae, toy, **{**toy_recipe, "sparsity": my_price})
print(HEAD)
print(as_row(f"λ = {my_price}, {my_latents} latents", scores_of(my_sae, fresh_x)))

# %% [markdown]
# ## Part 6 · A language model
# *20 minutes*
#
# Now the real thing. We collect the residual stream at one layer in the middle, for every token of a
# few thousand short texts, position 0 left out (notebook 01). Then all vectors are multiplied by one
# number so that their mean length is $\sqrt{d_\text{model}}$. That makes λ and the learning rate mean
# the same whatever the model: in one layer of one model the vectors have length 5, in another 500.

# %% tags=["explore"]
from steerlab.activations import collect
from steerlab.data import generate

hook_name, device = settings.hook_name, model.cfg.device


def read(documents):
    """The residual stream of every token of some documents, position 0 left out."""
    texts = [document.text for document in documents]
    return collect(model, texts, hook_name, batch_size=2 * settings.batch_size)


training_texts = generate(3000, seed=31)
select_texts, judge_texts = generate(1200, seed=32), generate(1200, seed=33)
select, judge = read(select_texts), read(judge_texts)
train_x = read(training_texts).values[hook_name]
d_model = train_x.shape[1]
scale = math.sqrt(d_model) / float(train_x.norm(dim=1).mean())
train_x = (train_x * scale).to(device)

d_sae = 8 * d_model
held_out = torch.cat([select.values[hook_name], judge.values[hook_name]])
held_out = (held_out[: 110_000_000 // d_sae] * scale).to(device)  # as many as fit into memory
print(f"{hook_name}: {len(train_x):,} tokens to train on, {len(held_out):,} held out")
print(f"an example: {training_texts[0].text!r}")

# %% [markdown]
# The texts to train on and the held-out texts are different draws. (Half of the held-out texts will
# choose features in Part 7, and the other half judge them.)
#
# Now your training. λ is set in proportion to the length of the vectors, as the loss asks for: a
# squared error grows with the square of the length, the penalty only with the length itself.

# %% tags=["explore"]
import time

sparsity = 2.2 * math.sqrt(d_model / 128)
recipe = {"n_steps": 600, "batch_size": 512, "sparsity": sparsity, "learning_rate": 2e-3}
curve = []


def watch(step, sae):
    """Scores on the same held-out tokens, every 25 steps and after the last."""
    # Part 5 not finished? Put `return` here, and go on without curves.
    if step % 25 == 0 or step == recipe["n_steps"] - 1:
        sample = held_out[:2048]
        with torch.no_grad():
            loss = float(objective(sae, sample, sparsity))
        curve.append({"step": step + 1, "loss": loss, **scores_of(sae, sample)})


untrained = random_sae(d_sae, d_model, seed=0)
started = time.perf_counter()
sae = train_with(untrained, train_x, **recipe, watch=watch)
seconds = time.perf_counter() - started
print(f"{recipe['n_steps']} steps of {recipe['batch_size']} tokens in {seconds:.0f} seconds")
plots.training_curves(
    {f"λ = {sparsity:.2f}": curve}, n=f"{len(held_out[:2048]):,} held-out tokens a point"
)

# %% tags=["explore"]
# Parts 2 to 4 not finished? Take the `#` away from these lines: an SAE that ships with the embedded
# model takes the place of yours (and of the untrained one, which you then have to do without).
# from steerlab.sae import load_sae
# shipped = load_sae("tiny/relu")
# sae = untrained = dict(shipped.named_parameters()) | {"W_dec": shipped.W_dec * scale}
# def forward(sae, x):
#     code = shipped.encode(x / scale)
#     return code, shipped.decode(code) * scale

# %% [markdown]
# The three panels tell the story of the schedule. While λ is still small, the latents learn to
# reconstruct: FVU falls fast and L0 is high. As λ grows, L0 is pressed down, and FVU pays for it. Over
# the last fifth the learning rate falls, and all three settle.
#
# And what does it cost the model? `splicing_losses` runs it over other texts: once as it is, once with
# the mean residual in every place, and then with your reconstruction in place of the residual stream.

# %% tags=["explore"]
from steerlab.sae import load_frontier, splicing_losses

loss_texts = [document.text for document in generate(100, seed=34)]
losses_with = splicing_losses(model, hook_name, loss_texts)


def splicing(sae):
    """A function of the residual stream that puts your reconstruction in its place."""

    def reconstruct(resid):
        with torch.no_grad():
            return (forward(sae, resid.float() * scale)[1] / scale).to(resid)

    return reconstruct


def losses_of(sae):
    """(clean, spliced, ablated), in nats a token."""
    return losses_with(splicing(sae))


losses = losses_of(sae)
scores = scores_of(sae, held_out, losses)
untrained_scores = scores_of(untrained, held_out, losses_of(untrained))
print(HEAD)
print(as_row("untrained", untrained_scores))
print(as_row("trained", scores))
print(f"n = {len(held_out):,} held-out tokens and {len(loss_texts)} texts, computed now")
print("\nclean {:.3f}, spliced {:.3f}, ablated {:.3f} nats a token".format(*losses))

# %% [markdown]
# One training gives one point: a certain sparsity at a certain price. Another λ gives another point.
# Together they make the **frontier** of the method, and only frontiers can be compared: whoever says
# that his SAE has a lower FVU may just have taken a smaller λ. Training all of them takes minutes, so
# the others were trained beforehand, for 1,000 steps each, on a third more texts; the star is yours.

# %% tags=["explore"]
recorded = load_frontier(settings.name)
if recorded is None:
    print(f"No recorded trainings ship with {settings.name}: your point stands alone.")
families = {"ReLU + L1": recorded.points["relu"]} if recorded else {}
plots.frontier(
    families,
    {"yours, trained now": scores},
    n=recorded.n if recorded else f"{len(held_out):,} tokens, {len(loss_texts)} texts",
    provenance=recorded.made if recorded else "computed now",
)

# %% [markdown]
# ## Part 7 · What does a feature stand for?
# *25 minutes, 2 points*
#
# Now there are a thousand latents, and nobody has told us what they are for. The first thing
# everybody does is to look at the places in many texts where a latent is most active. Two nuisances
# come up at once. A text that repeats a phrase fills the list with copies of one example; so we take
# **one place from each text**, its strongest. And special tokens and line breaks carry odd
# activations; so places at certain tokens are **skipped**, which must not throw out the whole text.


# %% nbgrader={"grade": false, "grade_id": "top_contexts", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 02_toy_sae/top_contexts
def top_contexts(
    strengths: Float[Tensor, "token"],
    documents: Int[Tensor, "token"],
    tokens: Int[Tensor, "token"],
    skip: list[int],
    n: int,
) -> list[int]:
    """The places where a feature is strongest: at most n, strongest first, one from each text.

    strengths, documents and tokens say for each token how active the feature is there, which text
    it belongs to, and its id. A place whose token id is in skip is passed over; its text may still
    be in the list with another place. So is a place where the feature is not active. A place is an index into
    strengths, as an int. No two strengths that are not 0 are equal.
    """
    ### BEGIN SOLUTION
    # canary-6c8c387ae13f6a16017f7a29bc201cd5
    places, seen = [], set()
    for place in strengths.argsort(descending=True).tolist():
        document = int(documents[place])
        if len(places) == n or strengths[place] <= 0:
            break
        if int(tokens[place]) not in skip and document not in seen:
            places.append(place)
            seen.add(document)
    return places
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "top_contexts_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 02_toy_sae/top_contexts  (hidden tests run here when your work is graded)

# %%
checks.check_top_contexts(top_contexts)

# %% [markdown]
# <details><summary>How do I go through the places in order of strength?</summary>
#
# `argsort` gives the indices that would sort a tensor; `descending=True` puts the largest first. Go
# through them with a loop, keep a set of the texts that are in the list already, and stop when you
# have n.
# </details>

# %% [markdown]
# Below are the cards of three features. How dark a token is says how active the feature is there, and
# the token of the peak is bold. The lower lines of each card are not from the top: each is drawn at
# random from one quarter of all places where the feature is active at all.

# %% tags=["explore"]
from IPython.display import HTML, display
from steerlab.feature_widget import FeatureBrowser

tokenizer = model.tokenizer
line_breaks = [i for i in range(len(tokenizer)) if not tokenizer.decode([i]).strip()]
skip = sorted({*line_breaks, *tokenizer.all_special_ids})
with torch.no_grad():
    judge_x = (judge.values[hook_name] * scale).to(device)
    judge_code = forward(sae, judge_x)[0].cpu()
rate = (judge_code > 0).float().mean(0)
typical = (rate.log() - rate[rate > 0].log().median()).abs().argsort()[:3].tolist()

browser = FeatureBrowser(judge, judge_code, top_contexts, tokenizer, skip=skip, n=4)
for feature in typical:
    display(HTML(browser.card(feature)))
print(f"n = {len(judge_code):,} held-out tokens; the firing rates of these three lie in the middle")

# %% [markdown]
# Give each of them a name from its top lines alone. Then read the lower lines. Does the name still
# fit at a quarter of the strength? Often the top is purer than the rest. A name made from the top
# of the list describes the top of the list (Bolukbasi et al. 2021 call it an *interpretability
# illusion*).

# %% [markdown]
# ### Names that can be wrong
#
# Better than looking: a test that a name could fail. Our texts carry labels that the SAE has never
# seen; half of them are about one of twelve topics. Take the mean activation of a feature over each
# text as a score, and ask how well it tells the texts about *ocean*, say, from the others. The
# **AUROC** is the chance that a text about oceans has a higher score than one about something else:
# 1 is perfect, 0.5 is a coin.
#
# Among a thousand features, some separate any texts well by luck. So the feature is *chosen* on one
# half of the held-out texts and *judged* on the other. And the number needs neighbours. How well
# would one do without any training?
#
# - **raw coordinates** of the residual stream, the best of them, with either sign;
# - **PCA**: the principal components of the residual stream, with either sign;
# - **the untrained SAE**, the one that your training started from. It has as many latents to choose from.
#
# ### Predict: what does chance find?
#
# Of twelve topics, for how many does the *untrained* SAE have a latent with a held-out AUROC above
# 0.9?

# %% tags=["predict"]
answer = 0  # of 12 topics
chance_prediction = predict(
    "For how many of the 12 topics does an untrained SAE have a latent with AUROC > 0.9?",
    answer,
    key="chance",
    low=0,
    high=12,
)

# %% tags=["explore"]
from steerlab.data import TOPICS
from steerlab.sae import SAE, auroc, baselines, document_scores, match_concepts


def features_of(sae):
    """From residuals as the model has them to your code."""

    def score(part):
        with torch.no_grad():
            return forward(sae, part.to(device) * scale)[0]

    return score


as_library = SAE(**{name: tensor.cpu() for name, tensor in untrained.items()})
ways = baselines(train_x.cpu() / scale, as_library)
ways = {
    "features of your SAE": (features_of(sae), False),
    "untrained SAE": (features_of(untrained), False),
    "PCA": ways["PCA"],
    "raw coordinates": ways["raw coordinates"],
}
topics = [[document.topic for document in texts] for texts in (select_texts, judge_texts)]
best, by_way = {}, {}
for name, (score, both_signs) in ways.items():
    choosing, judging = (document_scores(half, hook_name, score) for half in (select, judge))
    best[name] = match_concepts(
        choosing, topics[0], judging, topics[1], concepts=TOPICS, both_signs=both_signs
    )
    by_way[name] = {match.concept: match.held_out for match in best[name]}
n_topic_texts = [sum(topic is not None for topic in half) for half in topics]
plots.concept_scores(
    by_way,
    chance_prediction,
    n=f"chosen on {n_topic_texts[0]} texts, judged on {n_topic_texts[1]}",
)
if chance_prediction.filled:
    by_chance = sum(area > 0.9 for area in by_way["untrained SAE"].values())
    print(chance_prediction.beside(by_chance))

# %% [markdown]
# Your features should win clearly. But look at how well the others do. An untrained SAE has never seen
# a text; its latents are random directions with a ReLU. It has a thousand tries, a topic is present in
# the residual stream in more than one direction, and the mean over a text is forgiving. "We found a
# feature for oceans" is a statement about the training only by the distance between these points.
#
# ### Browse
#
# The browser runs *your* `forward` and `top_contexts`. Type a feature's number, or search for a label.
# The labels were given automatically: the concept that the feature separates best on one half of the
# texts, with its AUROC on the other half. Find a feature whose label is wrong, or too wide, or too
# narrow.


# %% tags=["explore"]
def label_all(sae, attributes=("topic", "sentiment", "register")):
    """{feature: (concept, AUROC on the other half)} for every feature that is active at all."""
    halves = [document_scores(half, hook_name, features_of(sae)) for half in (select, judge)]
    names, areas = [], []
    for attribute in attributes:
        values = [[getattr(d, attribute) for d in texts] for texts in (select_texts, judge_texts)]
        for value in sorted({v for v in values[0] if v is not None}):
            pair = []
            for scored, labels in zip(halves, values, strict=True):
                carry = torch.tensor([label is not None for label in labels])
                positive = torch.tensor([label == value for label in labels])
                pair.append(auroc(scored[carry], positive[carry]))
            names.append(f"{attribute}: {value}")
            areas.append(torch.stack(pair))
    chosen, held = torch.stack(areas).unbind(1)  # [concept, feature] of either half
    winner = chosen.argmax(0).tolist()
    alive = (halves[0] > 0).any(0).tolist()
    return {i: (names[winner[i]], float(held[winner[i], i])) for i in range(len(alive)) if alive[i]}


labels = label_all(sae)
FeatureBrowser(
    judge,
    judge_code,
    top_contexts,
    tokenizer,
    labels=labels,
    skip=skip,
    start=best["features of your SAE"][0].feature,
)

# %% [markdown]
# ## Part 8 · Two defects to find, and one result that fails
# *25 minutes*
#
# ### Defect 1: the curve goes down, so where is the mistake?
#
# The homework that this assignment grew out of trained an SAE on GPT-2 with the loss below: the mean
# squared error plus $10^{-3}$ times the mean activation. It took 50 steps, each on all of its data at
# once, and the loss went down nicely. Then it looked at the top contexts of latents 0, 1 and 2 and
# described them. Here is its recipe on our residual stream, with 1,024 tokens as all of its data.

# %% tags=["explore"]
homework_steps = 50


def homework_loss(sae, batch, sparsity):
    code, x_hat = forward(sae, batch)
    error = torch.nn.functional.mse_loss(x_hat, batch)
    return error + 1e-3 * code.abs().mean()


everything = train_x[:1024]
rows = torch.arange(len(everything)).expand(homework_steps, -1)
fixed = [1e-3] * homework_steps
falling = []
homework_sae = train_sae(
    untrained,
    everything,
    rows,
    fixed,
    fixed,
    homework_loss,
    lambda step, sae: falling.append(float(homework_loss(sae, everything, 0.0).detach())),
)
print("loss at steps 1, 10, 50:", *(f"{falling[i]:.3f}" for i in (0, 9, -1)))
print(HEAD)
homework_scores = scores_of(homework_sae, held_out, losses_of(homework_sae))
print(as_row("the homework's recipe", homework_scores))
print(as_row("yours", scores))
print(
    f"d_sae = {d_sae}; n = {len(held_out):,} held-out tokens, {len(loss_texts)} texts, computed now"
)

# %% [markdown]
# **Find out what is wrong**, before you open the answer. Two questions lead there. How many latents does
# it use for a token? And which λ, in the sense of the formula of Part 3, has this loss? (Multiply it by
# `d_model`. That changes nothing about where its minimum lies.) Then repair the loss and the number of
# steps, and see whether you come near the row of yours.
#
# <details><summary>Which λ is it?</summary>
#
# `mse_loss` averages over tokens *and* coordinates, `code.abs().mean()` over tokens *and* latents. Times
# `d_model`, the first term is the error of Part 3, and the second is
#
# $$10^{-3}\cdot\frac{d_\text{model}}{d_\text{sae}} \cdot \frac1B\sum_b\sum_i f_{b,i}
# = \frac{10^{-3}}{8}\cdot\frac1B\sum_b\sum_i f_{b,i}.$$
#
# So λ is 0.000125. You have trained with a λ that is more than ten thousand times as large. At theirs
# sparsity can be ignored at no cost, and it is: on the embedded model more than 800 of 1,024
# latents are active on a token. (The norm of the decoder rows is missing, too. At such a λ that makes no
# difference any more.) A wider dictionary makes λ smaller still: a coefficient that worked at one width
# means something else at another. And look at loss recovered: by that number alone, nothing is wrong.
# </details>
#
# <details><summary>And the 50 steps?</summary>
#
# Compare the loss at steps 10 and 50: it is still falling fast when the training ends. A falling curve
# shows that something is being learnt, and not that the learning is over. (Its progress reports were
# printed every 100 steps, so in 50 steps not one was.) Repair λ first and look at L0 and FVU after 50
# steps; then raise the number of steps.
# </details>
#
# ### Defect 2: paid twice
#
# Another project pays attention to the loophole of Part 3: it weighs each activation by the norm of its
# decoder row, as you do. And after each step it also sets all rows of `W_dec` back to norm 1. Each of
# these closes the loophole. What do they do together, and what happens with neither? Your `watch` gets
# the live parameters after each step, so it can play the part of whoever changes them. Before you run
# the cell: which of the four do you expect to work, and what will go wrong with the others?


# %% tags=["explore"]
def unweighed(sae, batch, sparsity):
    """Your loss as if all rows of W_dec had norm 1: the activations alone are paid for."""
    code, x_hat = forward(sae, batch)
    rows_of_norm_1 = torch.nn.functional.normalize(sae["W_dec"], dim=1)
    return sae_loss(batch, x_hat, code, rows_of_norm_1, sparsity)


def back_to_norm_1(step, sae):
    with torch.no_grad():
        sae["W_dec"] /= sae["W_dec"].norm(dim=1, keepdim=True)


def leave_alone(step, sae):
    pass


variants = {
    ("yes", "free"): (objective, leave_alone),
    ("yes", "set to 1"): (objective, back_to_norm_1),
    ("no", "set to 1"): (unweighed, back_to_norm_1),
    ("no", "free"): (unweighed, leave_alone),
}
print("norms in    norms after")
print("the loss    each step     FVU     L0   found   mean norm   mean Σf")
for (weighed, after), (loss, change) in variants.items():
    each = toy_sae  # the first of the four has been trained already
    if (loss, change) != (objective, leave_alone):
        each = train_with(untrained_toy, toy, **toy_recipe, loss=loss, watch=change)
    found = int((recovery(each["W_dec"].cpu(), planted.directions) > 0.9).sum())
    with torch.no_grad():
        total = float(forward(each, fresh_x)[0].sum(dim=1).mean())
    norm, of = float(each["W_dec"].norm(dim=1).mean()), scores_of(each, fresh_x)
    print(
        f"{weighed:11} {after:11} {of['fvu']:6.3f} {of['l0']:6.1f}   {found:2d} of {n_planted}"
        f"{norm:10.2f}{total:11.2f}"
    )
print(f"n = {len(fresh_x):,} vectors that were not trained on, computed now")

# %% [markdown]
# <details><summary>What goes wrong, and where? (Open this after you have seen the table.)</summary>
#
# Only with *neither*. There the rows have grown and the activations have shrunk: the sum of the
# activations, which is what is paid for, is the smallest of the four, and yet three times as many latents
# are active and few directions are found. The number that the loss made small is not the number that
# we wanted small.
#
# Both together are not wrong. With all norms at 1, weighing by them changes nothing: one of the two does
# no work. But it is paid for. Adam proposes a step, and a part of it is undone right afterwards without
# its knowledge. And at the first step the rows jump from norm 0.1 to 1 while the encoder stays as it was:
# the transposed start of Part 2 is lost. (Here that does no harm that one could see.) Whoever reads such
# code cannot tell which of the two it relies on, and may take out the wrong one.
# </details>

# %% [markdown]
# ### A result that fails
#
# So the SAE "has found the model's features"? On the planted vectors that could be checked: there are
# directions that are in the world, and it found them. On the model nobody knows them. But one thing
# follows from "these are *the* features": whoever looks for them again has to find the same. So train a
# second SAE on the same tokens, with the same recipe, from other random directions and with the batches
# in another order, and match the two dictionaries one to one, as in Part 4. For comparison the same is
# done on the planted vectors.
#
# ### Predict: the same again?
#
# What share of your SAE's features, in percent, has a partner in the other one with a cosine above 0.9?

# %% tags=["predict"]
answer = 80  # percent of your features
twin_prediction = predict(
    "Two SAEs of the same model: what share of the features of one is found again in the other?",
    answer,
    key="twins",
    unit="% of the features",
    low=0,
    high=100,
)

# %% tags=["explore"]
twin = train_with(random_sae(d_sae, d_model, seed=1), train_x, **recipe, seed=1)
toy_twin = train_with(random_sae(n_planted, width, seed=2), toy, **toy_recipe, seed=1)


def found_again(other, sae):
    """For each feature the cosine with the feature of the other SAE that it is matched to."""
    return recovery(other["W_dec"].cpu(), sae["W_dec"].cpu())


again = {
    "model, two SAEs": found_again(twin, sae),
    "model, one of them untrained": found_again(random_sae(d_sae, d_model, seed=2), sae),
    "planted vectors, two SAEs": found_again(toy_twin, toy_sae),
}
plots.recovered_directions(
    {name: cosines.tolist() for name, cosines in again.items()},
    twin_prediction,
    n=f"{d_sae} features of the model, {n_planted} of the planted vectors",
    title="Does a second SAE find the same features?",
    ylabel="cosine with the row\nmatched to it",
)
if twin_prediction.filled:
    same = again["model, two SAEs"] > 0.9
    print(twin_prediction.beside(100 * float(same.float().mean())))
    order = rate.argsort(descending=True)
    for name, part in zip(
        ("most frequent", "second", "third", "rarest"), order.tensor_split(4), strict=True
    ):
        print(f"of the {name} quarter of your features: {same[part].float().mean():.0%}")
twin_scores = scores_of(twin, held_out, losses_of(twin))
print(HEAD)
print(as_row("yours", scores))
print(as_row("its twin", twin_scores))
print(f"n = {len(held_out):,} held-out tokens and {len(loss_texts)} texts, computed now")

# %% [markdown]
# It fails. On the embedded model about half of the features have no partner in the other SAE. (Most have
# a relative, with a cosine above 0.7. In an untrained dictionary none has.) Of the planted
# directions five in six are found again. And nothing in the table told us: by all four numbers, one SAE
# is as good as the other. They are two different lists for one and the same stream.
#
# Why? The planted vectors are what the method assumes: sums out of a *fixed* list, each entry present or
# absent by itself. In a model, topics have subtopics, words of one kind come in many shades, and what is
# present depends on what else is. Such a stream can be cut up into a thousand pieces in many ways that
# cost the same, and the loss has no opinion among them. The start decides. (Paulo and Belrose, 2025, found
# 30% shared features between two SAEs with 131,072 latents on Llama 3 8B.)
#
# That does not make features useless. Each of them is *a* direction that fires on what it fires on, and
# notebook 03 will steer with one. But "the model has 1,024 features, and this is number 311" is a
# sentence about a training run. What survives is what both of them find.

# %% [markdown]
# ## Part 9 · A threshold in place of a price
# *10 minutes*
#
# The L1 penalty has a price that has nothing to do with sparsity. Take one direction that is present
# with strength $a$, and a latent that has found it. The loss asks for the $f$ that makes
# $(a - f)^2 + \lambda f$ smallest. Set the slope to zero:
#
# $$f = a - \frac{\lambda}{2}.$$
#
# So every activation comes out too small by $\lambda/2$, however certain it is that the feature is
# there. That is **shrinkage**. On the planted vectors it can be measured, since there we know $a$: how
# much of it is still left in $x - \hat x$, along its direction?

# %% tags=["explore"]
directions = planted.directions.to(toy)
rows_of_norm_1 = torch.nn.functional.normalize(toy_sae["W_dec"], dim=1)
well_found = (rows_of_norm_1 @ directions.T).amax(dim=0) > 0.95
with torch.no_grad():
    left_over = (fresh_x - forward(toy_sae, fresh_x)[1]) @ directions.T
strength = fresh.activations.to(toy)
there = (strength > 0) & well_found
print(f"strength of a direction that is there:       {strength[there].mean():.2f} on average")
print(f"of it, missing in the reconstruction:        {left_over[there].mean():.2f}")
print(f"λ/2:                                         {toy_recipe['sparsity'] / 2:.2f}")
print(
    f"n = {int(there.sum()):,} presences of {int(well_found.sum())} well-found directions, computed now"
)

# %% [markdown]
# It is even a little more than λ/2. The rest is a second tax: to ignore what leaks in from other
# directions, a latent needs a bias below zero, and the bias is subtracted from everything that passes, too.
#
# The cure is to separate two questions that the ReLU with its bias answers with one number. *Is it
# there?* and *how strong is it?* A ReLU that is to ignore everything below 0.5 has to subtract 0.5 from
# everything above it. **JumpReLU** (Rajamanoharan et al. 2024) has a threshold $\theta_i$ for each
# latent and leaves alone what passes:
#
# $$f_i = z_i \cdot [\, z_i > \theta_i \,], \qquad z = (x - b_\text{dec})\, W_\text{enc} + b_\text{enc}.$$
#
# With θ = 0.5, a $z$ of 0.3 becomes 0 and a $z$ of 2 stays 2. The price is then put on the *number* of
# active latents, which is what we wanted from the start, and since that has no slope, training puts in an
# estimated one near the threshold. (How that is done is not part of this course's exercises; it is in
# `steerlab.sae.dictionary`.) **TopK** (Gao et al. 2024) goes a third way: keep the $k$ largest entries
# of $z$, and pay for nothing.
#
# Both are better at every sparsity. Here are all three frontiers, and two stars: yours, and the JumpReLU
# SAE that ships with the embedded model. It was trained longer, and notebook 03 will steer with it.

# %% tags=["explore"]
if recorded is None:
    print(
        f"No recorded trainings and no JumpReLU SAE ship with {settings.name}: nothing to compare."
    )
else:
    from steerlab.sae import load_sae

    jump = load_sae(f"{settings.name}/jumprelu").to(device)
    raw = held_out / scale
    with torch.no_grad():
        jump_code = jump.encode(raw)
        jump_scores = sae_scores(raw, jump.decode(jump_code), jump_code, losses_with(jump))
    del jump_code
    print(HEAD)
    print(as_row("yours: ReLU + L1", scores))
    print(as_row("shipped: JumpReLU", jump_scores))
    kinds = {"relu": "ReLU + L1", "topk": "TopK", "jumprelu": "JumpReLU"}
    plots.frontier(
        {title: recorded.points[kind] for kind, title in kinds.items()},
        {"yours, trained now": scores, "shipped JumpReLU": jump_scores},
        n=recorded.n,
        provenance=recorded.made,
    )

# %% [markdown]
# ## Part 10 · In your own words
# *20 minutes, 5 points*
#
# From the abstract of an imaginary paper: *"We train a sparse autoencoder with 16,384 latents on layer 12
# of a language model. It explains 94% of the variance. For 50 latents we read the ten strongest
# contexts; 44 have a clear meaning, for example legal language, Norwegian, or sarcasm. The model thus
# represents over 14,000 interpretable concepts, of which sarcasm is one."*
#
# In about 200 words: name **three** reasons why this conclusion does not follow. For each, say what you
# would measure, and which outcome would support the authors and which would not. Use at least two
# numbers from *your own* results above. Close with one sentence: what may the authors claim from what
# they have done?

# %% [markdown] nbgrader={"grade": true, "grade_id": "written", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# <!-- graded: 02_toy_sae/written -->
#
# ### BEGIN SOLUTION
#
# canary-6c8c387ae13f6a16017f7a29bc201cd5
#
# *Three doubts.* (1) **94% of the variance at which L0?** A dense code explains anything. In my Part 8 the
# homework's SAE explained 88% of the variance (FVU 0.115) and recovered 0.996 of the loss, with an L0 of
# 867 of 1,024 latents. I would ask for L0, and for the loss recovered. At an L0 of some tens and little loss the
# claim stands; at thousands the "concepts" are no list at all. (2) **Compared with what?** 44 of 50 readable
# latents, read by their ten best contexts, chosen nobody says how. I would let others name latents from one
# set of texts, score the names on another, over all strengths, and do the same with an untrained SAE of the
# same width. If trained latents win clearly, good; in my notebook the untrained SAE had a latent above 0.9
# for 2 of 12 topics, so the margin has to be shown. (3) **"The model represents 14,000 concepts."** I would
# train a second SAE from another seed and match the two. If nearly all latents come back, the count may say
# something about the model. In mine 514 of 1,024 did, at equal FVU and L0, so half of the
# count belongs to the training run. And nobody has yet changed "sarcasm" and seen the model become sarcastic.
#
# *What may be claimed:* this dictionary has latents whose strongest contexts, for 44 of 50 that were
# read, look alike to a human reader.
#
# ### END SOLUTION

# %% [markdown] tags=["author"]
# **Rubric for the written question (5 points)**
#
# | points | for |
# |---|---|
# | 3 | one for each sound reason *with* a measurement that fits it *and* an outcome for either side. Half a point where the measurement is named but not what it would show. Sound reasons: no L0 beside the explained variance (a dense code explains anything); no loss recovered; only the strongest contexts were read (no quartiles, no test that a name could fail); no baseline (untrained SAE of the same width, coordinates, PCA); features chosen and judged on the same texts; 50 of 16,384, and not said how chosen (dead or rare latents); another seed gives other features, so the number counts the dictionary and not the model; a feature that fires on sarcasm need not be what the model uses (no intervention). |
# | 1 | two numbers from the student's own results, quoted with what they are (a bare number: half) |
# | 1 | a last sentence that claims something about this dictionary and the contexts that were read; "the model represents" earns 0 here |
#
# An answer that lists more than three is graded on its best three. Do not grade style or length.

# %% [markdown]
# ## Bonus
# *no points*
#
# 1. **TopK.** Write `topk_forward(sae, x, k)`: of the entries of $z$ keep the `k` largest, and set the
#    rest to zero. Train it with `train_with(..., loss=...)` and a loss that is the squared error alone.
#    How many latents are dead? (Gao et al. revive dead latents with a second loss term.) Where does your
#    point lie on the frontier?
# 2. **Your own frontier.** Train three more SAEs on the planted vectors with λ from 0.5 to 4 and plot FVU
#    against L0. At which λ is the number of directions found largest? Could you have told from FVU and
#    L0 alone, without knowing the directions?
# 3. **Wider.** Give the planted SAE twice and four times as many latents. What happens to the
#    directions that had been found before? (Look for *splitting*: two latents that share one direction.)
# 4. **A twin of your own.** Train a second SAE on the model from another seed and the same tokens, and do
#    the matching of Part 8 with it. How much of the difference was due to other data and another recipe?
#
# ## What to keep
#
# - A model can use more directions than it has dimensions if few are present at a time. Projection
#   then reads a mixture; an SAE asks which few directions add up to the vector.
# - The architecture is not sparse. The loss is, and its sums and means decide what λ means.
# - L1 charges for activation times decoder norm, or training cheats. It shrinks what it charges for;
#   JumpReLU and TopK do not.
# - FVU, L0, dead latents and loss recovered go together. Each by itself can be had for nothing.
# - A feature's name is a hypothesis. Test it on texts that had no say in it, beside an untrained SAE.
# - Another seed finds other features. A dictionary describes a model; it is not the model's own list.
#
# **Sources.** Elhage et al. 2022, *Toy Models of Superposition*. Bricken et al. 2023, *Towards
# Monosemanticity*. Conerly et al. 2024, *Update on how we train SAEs*. Gao et al. 2024, *Scaling and
# evaluating sparse autoencoders*. Rajamanoharan et al. 2024, *Jumping Ahead: Improving Reconstruction
# Fidelity with JumpReLU Sparse Autoencoders*. Templeton et al. 2024, *Scaling Monosemanticity*. Paulo and
# Belrose 2025, *Sparse Autoencoders Trained on the Same Data Learn Different Features*. Bolukbasi et al.
# 2021, *An Interpretability Illusion for BERT*. Kuhn 1955, *The Hungarian method for the assignment
# problem*.
