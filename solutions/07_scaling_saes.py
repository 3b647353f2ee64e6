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
# # 07 · Sparse autoencoders at scale
#
# In notebook 02 everything fitted into memory and was over in half a minute. The autoencoders that
# people read about are another matter. Open Concept Steering (Freed 2025), from which this notebook
# comes, ran 600 million tokens through a model with seven billion parameters, stored what came out
# of one layer, trained a dictionary of 65,536 features on it, looked for Batman among them, and
# then asked the model what to do with five dollars. That takes days. Machines are restarted in
# between, files are cut short, latents die, and at the end somebody has to say whether twice the
# dictionary would have been worth twice the money.
#
# None of this is glamorous, and most of it goes wrong *silently*: a norm that is not quite the
# norm, a restart that is not quite a restart, a label that is not quite earned. You will build each
# piece small enough to check, and see what the quiet mistakes do.
#
# **Afterwards you can**
#
# - store residuals in less than half of the obvious space, and get the very same bits back;
# - interrupt a training so that nobody can tell from the result that it was interrupted;
# - revive dead latents without their past coming back with them;
# - say what a larger dictionary buys, with a law that has been tested on a size it had not seen;
# - name features by one set of documents and say from another what the names are worth;
# - steer a model with a feature that you have found yourself.
#
# **You need** notebook 02 (what an SAE is, how it is trained, FVU and L0), and from notebook 03 what
# clamping a feature does. The optimizer Adam comes up again, this time from the inside.
#
# | part | | minutes | points |
# |---|---|---|---|
# | 1 | A stream on disk | 40 | 5 |
# | 2 | A training that may be killed | 40 | 4 |
# | 3 | Latents that died | 25 | 2 |
# | 4 | How large a dictionary? With a result that fails | 30 | 2 |
# | 5 | Names for a thousand features | 25 | 2 |
# | 6 | What should I do with \$5? | 25 | – |
# | 7 | A defect to find, and one more claim to test | 20 | – |
# | 8 | In your own words | 20 | 5 |
#
# **How to work.** As before: fill in the line under `YOUR CODE HERE`, run the check below it, read
# what it says. Checks give no points; the points come from other inputs. A figure that waits for a
# prediction wants any answer, and does not mind a wrong one.
#
# **If a function will not come right**, go on. No graded function calls another. What you see
# depends on more of them: Part 2 needs `save_state` and `load_state`, its last two experiments your
# shards as well, and Part 3 all of `save_state`, `load_state` and `resample`. Part 1 ends with a way
# round for whoever has no shards; Parts 4, 5 and 6 begin with the residuals that it gives, and need
# `fit_law` and `name_features`.

# %% tags=["install"]
# install steerlab

# %%
MODEL = "tiny"

# %%
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float
from steerlab import checks, course_settings, load_model, plots
from steerlab.predict import predict
from steerlab.sae import auroc
from torch import Tensor

model = load_model(MODEL)  # together with the imports this takes about 15 seconds
settings = course_settings(model)

# %% [markdown]
# ## Part 1 · A stream on disk
# *40 minutes, 5 points*
#
# A training reads each residual several times, and a second training with another λ reads them all
# again. The model that makes them is by far the most expensive part. So one runs it *once*, and
# keeps what comes out of the layer in files. Files that are written one after the other and read
# independently are called **shards**.
#
# ### Predict: how much is that?
#
# The text of our documents is so many bytes. For each token of it the layer puts out `d_model`
# numbers, and we shall need two bytes for each. By what factor are the residuals larger than the
# text?

# %% tags=["predict"]
answer = 4
size_prediction = predict(
    "The residuals of one layer take … times as many bytes as the text they came from.",
    answer,
    key="size",
    unit="times",
    low=0,
    high=100_000,
)

# %% tags=["explore"]
import time

from steerlab.activations import collect
from steerlab.data import generate as generate_documents
from steerlab.data import topic_texts

hook_name, device = settings.hook_name, model.cfg.device


def training_texts(n):
    """n texts to train on, of the kind that the model can read."""
    if settings.topics == "concepts":
        return [document.text for document in generate_documents(n, seed=31)]
    return topic_texts(settings.topics, n, seed=31)[0]


def read(texts):
    """Every token's residual at the hook point, position 0 left out."""
    return collect(model, texts, hook_name, batch_size=2 * settings.batch_size)


texts = training_texts(1500)
started = time.perf_counter()
stream = read(texts)
seconds = time.perf_counter() - started
d_model = stream.values[hook_name].shape[1]
text_bytes = sum(len(text.encode()) for text in texts)
stream_bytes = 2 * d_model * len(stream.tokens)

print(
    f"{len(texts):,} texts, {len(stream.tokens):,} tokens at {hook_name} in {seconds:.1f} seconds"
)
print(f"text: {text_bytes / 1e6:.2f} MB, residuals: {stream_bytes / 1e6:.1f} MB; computed now")
if size_prediction.filled:
    print(size_prediction.beside(stream_bytes / text_bytes))
    whole = 600e6 * 4096 * 2
    print(f"600 million tokens of a 7B model (d_model 4096): {whole / 1e12:.1f} TB")

# %% [markdown]
# <details><summary>Is it worth keeping, then? (Open this after you have seen the number.)</summary>
#
# A token is a few bytes of text and becomes hundreds, or thousands, of numbers. Five terabytes are
# about what a large disk holds, which is why the original stored two bytes a number and not four,
# and stopped at 600 million tokens. Whether it is worth it is a sum: reading a residual from a disk
# takes microseconds, computing it anew takes half a forward pass of seven billion parameters.
# </details>
#
# ### Two bytes
#
# **bfloat16** is float32 with the lower half of its bits cut off: the same sign, the same eight
# bits of exponent, and seven bits of the mantissa in the place of 23. So it holds the same enormous
# range, with two to three decimal digits. Models compute in it, so little is lost by storing it.
#
# There is only one difficulty. **Parquet**, the file format that data frames are kept in, knows
# float32, float64, integers of all sizes, lists and text, and no bfloat16. The way out is old: a
# number in memory is 16 bits, and 16 bits are also a whole number between 0 and 65,535. So tell
# parquet that it is a `uint16`, and tell nobody else. To *reinterpret* bits is not to *convert* a
# value:

# %% tags=["explore"]
one = torch.tensor([1.0, -2.5, 1000.0], dtype=torch.bfloat16)
print("converted:    ", one.to(torch.int16).tolist(), "(what is behind the point is gone)")
print("reinterpreted:", one.view(torch.int16).tolist(), "(the same 16 bits, read as whole numbers)")
print("and back:     ", one.view(torch.int16).view(torch.bfloat16).tolist())

# %% [markdown]
# (`int16` reads the highest bit as a sign. For numpy and parquet we take `uint16`, which does not.
# The bits are the same: `.numpy().view(np.uint16)`.)
#
# A parquet file is a **table** of named columns. A column may hold a number in each row, or a list
# of equally many numbers. Beside the columns it carries **metadata**: short texts under names of
# your choice. This is all of pyarrow that you need:

# %% tags=["explore"]
import io

scores = np.array([[3, 1], [0, 2], [1, 1]], dtype=np.uint16)  # three matches, two teams
below_each_other = pa.array(scores.reshape(-1))
table = pa.table(
    {
        "goals": pa.FixedSizeListArray.from_arrays(below_each_other, 2),
        "spectators": pa.array(np.array([800, 1200, 950], dtype=np.int32)),
    }
).replace_schema_metadata({"season": "spring"})
file = io.BytesIO()  # a file in memory; one that `open(path, "wb")` gives works as well
pq.write_table(table, file)

file.seek(0)  # back to its beginning
again = pq.read_table(file)
flat = again.column("goals").combine_chunks().flatten().to_numpy()
print(again.num_rows, "rows;", flat.reshape(again.num_rows, 2).tolist())
print(again.column("spectators").to_numpy().tolist(), again.schema.metadata)

# %% [markdown]
# ### One number for the whole set
#
# In notebook 02 the residuals were scaled by *one* factor so that their mean norm is $\sqrt{d}$:
#
# $$\text{factor} = \frac{\sqrt{d}}{\mathbb E\lVert x\rVert}, \qquad
# \mathbb E\lVert x\rVert = \frac{\sum_\text{shards} \sum_t \lVert x_t\rVert}{\sum_\text{shards} n_\text{shard}}.$$
#
# With five terabytes nobody wants to read everything once just for that. So every shard carries the
# **sum of the norms** of its rows. Sums can be added; means of shards cannot, unless all shards
# have equally many rows, and the last one never has. And mind the order: the mean of norms is not
# the root of the mean of squares, $\mathbb E\lVert x\rVert \le \sqrt{\mathbb E\lVert x\rVert^2}$.
# The two are close where all tokens are about equally long, and far apart where a few are enormous,
# which in large models a few are. Both are in use, and a dictionary trained with one and used with
# the other reads everything too loud.


# %% nbgrader={"grade": false, "grade_id": "write_shard", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 07_scaling_saes/write_shard
def write_shard(file, x: Float[Tensor, "n d_model"], token: Tensor) -> None:
    """Write residuals x and the ids of their tokens [n] to a parquet file.

    file: an open binary file. The table has n rows and two columns: "residual", lists of d_model uint16
    numbers, the bits of x rounded to bfloat16 (`x.to(torch.bfloat16)`); and "token", whole numbers. The
    file's metadata hold, under "norm_sum", the sum of the norms of the n rows *as they are stored*, as
    text that float() reads. x is float32 (or float64) on the CPU, and stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-89d6a33e89670fdbcf4ac52b94e2ecdc
    stored = x.to(torch.bfloat16)
    norm_sum = stored.double().norm(dim=1).sum()
    bits = stored.view(torch.int16).numpy().view(np.uint16)
    flat = pa.array(bits.reshape(-1))
    residual = pa.FixedSizeListArray.from_arrays(flat, x.shape[1])
    table = pa.table({"residual": residual, "token": pa.array(token.numpy())})
    pq.write_table(table.replace_schema_metadata({"norm_sum": str(float(norm_sum))}), file)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "write_shard_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 07_scaling_saes/write_shard  (hidden tests run here when your work is graded)

# %%
checks.check_write_shard(write_shard)

# %% [markdown]
# <details><summary>Why the norms of what is stored, and not of <code>x</code>?</summary>
#
# The factor is for whoever *reads* the shard, and that is who will check it. Rounding changes each
# norm by up to 0.4%. On average over many rows nearly nothing remains of that. But "nearly" is a
# poor answer where the exact one costs nothing.
# </details>
#
# <details><summary>My metadata is not found.</summary>
#
# `replace_schema_metadata` does not change the table. It returns another one, and that is the one
# to write. Names and values are text (they come back as bytes: `metadata[b"norm_sum"]`).
# </details>
#
# <details><summary>Which dtype should the sum be in?</summary>
#
# bfloat16 has two to three digits, so a running sum in it stops growing at a few hundred terms.
# Convert to `.double()` *before* you take norms and add up.
# </details>


# %% nbgrader={"grade": false, "grade_id": "read_shards", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 07_scaling_saes/read_shards
def read_shards(files: list) -> tuple[Float[Tensor, "n d_model"], Tensor, float]:
    """All rows of some shards in their order, their tokens, and the factor of the whole set.

    files: binary files, open at their beginning, as write_shard makes them, with different numbers
    of rows. Returns (rows, tokens, factor): rows [n, d_model] in bfloat16 with the bits that were
    stored, unscaled; the ids of the tokens [n], whole numbers; and the factor that brings the mean
    norm over all n rows to √d_model, from the sums of norms in the metadata.
    """
    ### BEGIN SOLUTION
    # canary-89d6a33e89670fdbcf4ac52b94e2ecdc
    rows, tokens, norm_sum = [], [], 0.0
    for file in files:
        table = pq.read_table(file)
        flat = table.column("residual").combine_chunks().flatten().to_numpy()
        bits = flat.view(np.int16).reshape(table.num_rows, -1)
        rows.append(torch.tensor(bits).view(torch.bfloat16))
        tokens.append(torch.tensor(table.column("token").to_numpy()))
        norm_sum += float(table.schema.metadata[b"norm_sum"])
    everything = torch.cat(rows)
    n, d_model = everything.shape
    return everything, torch.cat(tokens), math.sqrt(d_model) * n / norm_sum
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "read_shards_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 07_scaling_saes/read_shards  (hidden tests run here when your work is graded)

# %%
checks.check_read_shards(read_shards)

# %% [markdown]
# <details><summary>How do the bits become bfloat16 again?</summary>
#
# The same way back: `uint16` → `int16` (`.view` in numpy) → a torch tensor →
# `.view(torch.bfloat16)`. `torch.tensor(array)` copies, which is what we want here: arrow's memory
# is read-only.
# </details>
#
# <details><summary>Why unscaled rows and the factor, and not scaled rows?</summary>
#
# Scaled rows would have to be rounded again or take twice the space. And whoever adds a shard later
# changes the factor, and would have to write all the others anew.
# </details>
#
# Now your writer puts the stream on disk, and your reader gets it back.

# %% tags=["explore"]
import tempfile
from itertools import pairwise
from pathlib import Path

folder = Path(tempfile.mkdtemp(prefix="steerlab-07-"))
shards = folder / "shards"
shards.mkdir()
stream_x, stream_tokens = stream.values[hook_name].float().cpu(), stream.tokens
cuts = [0, *(int(share * len(stream_x)) for share in (0.3, 0.6, 0.9)), len(stream_x)]
for number, (first, end) in enumerate(pairwise(cuts)):
    with open(shards / f"shard-{number:05}.parquet", "wb") as file:
        write_shard(file, stream_x[first:end], stream_tokens[first:end])


def open_all(paths):
    """The shards' files, opened; the operating system closes them with the kernel."""
    return [open(path, "rb") for path in sorted(paths)]


rows, tokens, factor = read_shards(open_all(shards.glob("*.parquet")))
exact = rows.double()
norms = exact.norm(dim=1)
rounding = (stream_x - rows.float()).square().sum() / (stream_x - stream_x.mean(0)).square().sum()
print(
    f"{len(rows):,} rows in {len(cuts) - 1} shards; tokens the same: {torch.equal(tokens, stream_tokens)}"
)
print(f"mean norm after scaling {factor * float(norms.mean()):.4f}, √d = {math.sqrt(d_model):.4f}")
by_squares = math.sqrt(d_model) / float(norms.square().mean().sqrt())
print(f"factor {factor:.4f}; from the mean of squares it would be {by_squares:.4f}")
print(f"rounding to bfloat16 loses a share of {float(rounding):.1e} of the variance")
on_disk = sum(path.stat().st_size for path in shards.glob("*.parquet"))
print(
    f"on disk: {on_disk / 1e6:.1f} MB, of float32 it would be {4 * d_model * len(rows) / 1e6:.1f} MB"
)

# %% tags=["explore"]
# Not finished yet? Take the `#` away from these lines and go on; come back later.
# rows, tokens = stream_x.to(torch.bfloat16), stream_tokens
# factor = math.sqrt(d_model) / float(torch.linalg.vector_norm(rows.double(), dim=1).mean())

x = rows.float() * factor  # what all trainings below read

# %% [markdown]
# Compare the two factors. On this model they differ by little, because position 0 was left out: in
# most models the first token is many times as long as all others (notebook 01). Put it back in, and
# the mean of squares is about that token alone.
#
# ### Half a file
#
# What if the machine stops in the middle of a write? Cut one shard in half and try to read it:

# %% tags=["explore"]
from steerlab.pipeline import PipelineError, Shards

damaged = folder / "damaged"
damaged.mkdir()
for path in sorted(shards.glob("*.parquet")):
    content = path.read_bytes()
    half = len(content) // 2 if path.name.startswith("shard-00002") else len(content)
    (damaged / path.name).write_bytes(content[:half])
try:
    Shards(damaged)
except PipelineError as error:
    print(str(error).replace(str(folder), "…"))

# %% [markdown]
# Parquet keeps its table of contents at the *end* of the file, so half a file is no file. That is
# lucky: it cannot be mistaken for a shorter one. The course's own `steerlab collect` also makes
# sure that a half-written file never bears the name of a shard. It writes to a name of its own and
# renames when everything is on disk, which a file system does in one go or not at all. Texts in,
# shards out, begun again where it stopped:
#
# ```
# steerlab collect concepts residuals --tokens 2000000 --resume
# ```

# %% [markdown]
# ## Part 2 · A training that may be killed
# *40 minutes, 4 points*
#
# A training of days will be interrupted. So from time to time it writes a **checkpoint**:
# everything that is needed to go on. *Everything* is the difficult word. The obvious part is the
# weights. Whoever saves those and no more can go on as well; the loss looks fine; and what comes
# out is another autoencoder than the one that would have come out otherwise. For a paper that is
# fatal in a quiet way: the run can no longer be repeated.
#
# What does the next step depend on? The course's training loop lies open, so look:

# %% tags=["explore"]
import inspect
import json

from steerlab.sae.loop import TrainingRun

print(inspect.getsource(TrainingRun._step))

# %% [markdown]
# Apart from the data and the settings, which stand in the program, there are five things.
#
# | attribute of the run | what it is | why the next step needs it |
# |---|---|---|
# | `run.sae` | dict of the four tensors `W_enc`, `b_enc`, `W_dec`, `b_dec` | it changes them |
# | `run.optimizer` | `torch.optim.Adam` | see below |
# | `run.generator` | a `torch.Generator` | it draws the rows of the batch |
# | `run.steps_done` | an int | λ and the learning rate follow a schedule |
# | `run.silent` | `[d_sae]`, how many steps ago each latent last fired | it decides who is resampled (Part 3) |
#
# **What Adam remembers.** Adam (Kingma and Ba 2015) does not follow the gradient $g$ but two
# running averages of it, one of $g$ and one of $g^2$:
#
# $$m \leftarrow 0.9\, m + 0.1\, g, \qquad v \leftarrow 0.999\, v + 0.001\, g^2, \qquad
# \theta \leftarrow \theta - \eta\, \frac{m / (1 - 0.9^t)}{\sqrt{v / (1 - 0.999^t)} + \varepsilon}.$$
#
# The divisions by $1 - 0.9^t$ make up for both averages starting at zero, so that also *how many*
# steps Adam has taken, $t$, belongs to its memory. PyTorch keeps the three for each parameter,
# under the parameter itself: `run.optimizer.state[parameter]` is the dict `{"step": t, "exp_avg":
# m, "exp_avg_sq": v}`, all of them tensors. A fresh Adam has $v$ from one single gradient, so its
# first step moves *every* number by the full learning rate, however small its gradient.
#
# The checkpoint is to be a flat dict of tensors, for a reason. PyTorch's own `torch.save` stores any
# Python object by *pickle*, and loading a pickle runs whatever code is in it. **Safetensors** stores
# tensors by name, and nothing else. Our names:
#
# | name | shape | |
# |---|---|---|
# | `W_enc`, `b_enc`, `W_dec`, `b_dec` | as they are | the parameters |
# | `step.W_enc`, `exp_avg.W_enc`, `exp_avg_sq.W_enc`, … | as in the optimizer | twelve in all |
# | `generator` | as `run.generator.get_state()` gives it | |
# | `steps_done` | `[]` | |
# | `silent` | `[d_sae]` | |


# %% nbgrader={"grade": false, "grade_id": "save_state", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 07_scaling_saes/save_state
def save_state(run) -> dict[str, Tensor]:
    """Everything that the next steps of a run depend on, as tensors under the names of the table.

    run has taken at least one step. The tensors are detached copies: what the run does afterwards
    does not change them. The run itself stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-89d6a33e89670fdbcf4ac52b94e2ecdc
    state = {
        "generator": run.generator.get_state(),
        "steps_done": torch.tensor(run.steps_done),
        "silent": run.silent.clone(),
    }
    for name, parameter in run.sae.items():
        state[name] = parameter.detach().clone()
        for moment, value in run.optimizer.state[parameter].items():
            state[f"{moment}.{name}"] = value.clone()
    return state
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "save_state_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 07_scaling_saes/save_state  (hidden tests run here when your work is graded)

# %%
checks.check_save_state(save_state)

# %% [markdown]
# <details><summary>How do I get from a name to what Adam remembers of it?</summary>
#
# Go through `run.sae.items()`. The optimizer's dictionary is keyed by the parameter tensor itself:
# `run.optimizer.state[run.sae["W_enc"]]` is a dict of three tensors.
# </details>
#
# <details><summary>Why copies, if I write them to disk anyway?</summary>
#
# The optimizer changes its tensors *in place*. A checkpoint of references would go on training with
# the run. (In a program that writes it at once, it makes no difference. In one that writes in the
# background, while the next steps are running, the file holds a bit of each of several steps. Such
# a file loads without complaint.)
# </details>


# %% nbgrader={"grade": false, "grade_id": "load_state", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 07_scaling_saes/load_state
def load_state(run, state: dict[str, Tensor]) -> None:
    """Put a run where another one was when its state was saved.

    run was made with the same data and settings, and may have taken steps of its own; state holds all
    names of the table. Afterwards the run's next steps are those that the other one would have
    taken. run.sae and run.optimizer stay the same objects, the optimizer that of the parameters in
    run.sae. The state stays as it is, now and when the run goes on.
    """
    ### BEGIN SOLUTION
    # canary-89d6a33e89670fdbcf4ac52b94e2ecdc
    with torch.no_grad():
        for name, parameter in run.sae.items():
            parameter.copy_(state[name])
            run.optimizer.state[parameter] = {
                moment: state[f"{moment}.{name}"].clone()
                for moment in ("step", "exp_avg", "exp_avg_sq")
            }
    run.generator.set_state(state["generator"])
    run.steps_done = int(state["steps_done"])
    run.silent = state["silent"].clone()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "load_state_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 07_scaling_saes/load_state  (hidden tests run here when your work is graded)

# %%
checks.check_load_state(load_state)

# %% [markdown]
# <details><summary>Why not simply <code>run.sae = …</code>?</summary>
#
# The optimizer was made with the tensors that are in `run.sae` now, and will go on changing
# *those*. If you put other tensors into the dict, the loss is computed with one set and the steps
# are made with another. Copy numbers *into* the old tensors: `parameter.copy_(…)`. Since they
# require gradients, do it under `torch.no_grad()`.
# </details>
#
# <details><summary>And the moments?</summary>
#
# Assign to `run.optimizer.state[parameter]` a dict with the three names, and copies as its values.
# A run that has not taken a step has no such entry yet, so there may be nothing to copy into.
# </details>

# %% [markdown]
# ### The experiment
#
# A training of 300 steps is killed after 150. Its checkpoint lies on disk. Then it is continued
# four times: with everything; without Adam's memory; without the generator's state, which then
# draws the batches of the first half once more; and without the number of steps, so that the
# schedule begins anew. At the end we ask how far the parameters are from those of a training that
# nobody disturbed, in units of the way that it has come since the kill.
#
# ### Predict: which omission costs the most?

# %% tags=["predict"]
answer = "the step number"
omission_prediction = predict(
    "Which omission ends furthest from the undisturbed training?",
    answer,
    key="omission",
    options=["Adam's memory", "the generator", "the step number"],
)

# %% tags=["explore"]
from safetensors.torch import load_file, save_file

n_steps, killed_at = 300, 150
x = x.to(device)


def random_start(d_sae, norm=0.1, seed=0):
    """Untrained parameters: random rows of one norm, the encoder their transpose, biases zero."""
    draws = torch.Generator().manual_seed(seed)
    rows = torch.randn(d_sae, d_model, generator=draws)
    rows = norm * torch.nn.functional.normalize(rows, dim=1)
    zeros = torch.zeros
    sae = {"W_enc": rows.T.clone(), "b_enc": zeros(d_sae), "W_dec": rows, "b_dec": zeros(d_model)}
    return {name: tensor.to(device) for name, tensor in sae.items()}


def new_run(**changes):
    options = {"n_steps": n_steps, "batch_size": 256, "sparsity": 2.2 * math.sqrt(d_model / 128)}
    return TrainingRun(random_start(4 * d_model), x, **options | changes)


def judged(sae, rows):
    """(FVU, L0, share of latents that never fire) on scaled residuals."""
    with torch.no_grad():
        code = torch.relu((rows - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"])
        error = (rows - code @ sae["W_dec"] - sae["b_dec"]).square().sum()
    fvu = float(error / (rows - rows.mean(0)).square().sum())
    return fvu, float((code > 0).sum(1).float().mean()), float((~(code > 0).any(0)).float().mean())


def frozen(run):
    """The parameters of a run as they are now."""
    return {name: run.sae[name].detach().clone() for name in run.sae}


def distance(sae, other):
    return math.sqrt(sum(float((sae[n] - other[n]).detach().square().sum()) for n in sae))


held_texts, _ = topic_texts(settings.topics, 200, seed=77)
held = read(held_texts).values[hook_name][:8000].float().to(device) * factor

undisturbed = new_run()
losses = {"undisturbed": undisturbed.advance(killed_at)}
save_file(save_state(undisturbed), folder / "checkpoint.safetensors")
halfway = frozen(undisturbed)
losses["undisturbed"] += undisturbed.advance(n_steps)


def resumed(without=None):
    """A fresh program that goes on from the checkpoint, all of it or without one thing."""
    run = new_run()
    load_state(run, load_file(folder / "checkpoint.safetensors"))
    if without == "Adam's memory":
        run.optimizer = torch.optim.Adam(run.sae.values())
    if without == "the generator":
        run.generator.manual_seed(0)
    if without == "the step number":
        run.steps_done = 0
    return run, run.advance(n_steps - killed_at)


ends = {}
for without in (None, *omission_prediction.options):
    name = "nothing left out" if without is None else without
    ends[name], losses[f"without {without}" if without else "resumed"] = resumed(without)
came = distance(undisturbed.sae, halfway)
distances = {name: distance(run.sae, undisturbed.sae) / came for name, run in ends.items()}
plots.resumed_runs(
    losses,
    killed_at,
    distances,
    omission_prediction,
    n=f"one training of {n_steps} steps, four ways to go on, d_sae {4 * d_model}",
)
if omission_prediction.filled:
    print(omission_prediction.beside(max(distances, key=distances.get)))
    print(f"{'left out':20} distance  held-out FVU     L0")
    for name, run in {"(undisturbed)": undisturbed, **ends}.items():
        fvu, l0, _ = judged(run.sae, held)
        print(f"{name:20} {distances.get(name, 0.0):8.3f}  {fvu:12.4f}  {l0:5.1f}")
    print(f"n = {len(held):,} held-out tokens, computed now")

# %% [markdown]
# With everything, the distance is exactly 0: the two trainings are the same, to the last bit. The
# three others are not, and the figure on the left is no guide to how much. The light blue line
# makes the greatest show, since λ has started from 0 again, and comes back. The green one takes its
# leave quietly, and ends furthest off, nearly as far as the training has come in its second half.
#
# Now look at the table. On the embedded model the run that has lost Adam's memory ends with a
# *lower* FVU at a *lower* L0: by both numbers it is the better autoencoder. (A fresh Adam takes
# larger steps for a while, and this training is so short that larger steps help.) So neither the
# loss nor the scores give a broken resume away. What gives it away is a comparison with a training
# that was not interrupted, and one makes it once, on a small run, before the large one starts.
#
# ### A real kill
#
# So far nobody has died. The next cell starts `steerlab train` as a process of its own, on *your*
# shards, waits for a checkpoint in the middle, and sends it SIGKILL, which no program can answer.
# Then it is resumed, and its weights are compared with those of a training that was left in peace.

# %% tags=["explore"]
import os
import signal
import subprocess
import sys

from steerlab.pipeline import TrainConfig, train_shards

config = TrainConfig(
    data=str(shards),
    out=str(folder / "killed"),
    column="residual",
    activation="topk",
    d_sae=4 * d_model,
    k=16,
    steps=300,
    batch_size=256,
    learning_rate=2e-3,
    checkpoint_every=50,
    measure_every=10,
    hook_name=hook_name,
)
threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}


def steerlab_train(config, launcher=("-m",)):
    """`steerlab train` as a process of its own."""
    path = folder / f"{Path(config.out).name}.yaml"
    config.write(path)
    command = [sys.executable, *launcher, "steerlab.cli", "train", "--config", str(path), "--quiet"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env={**os.environ, **threads}, **quiet)


process = steerlab_train(config)
middle = folder / "killed" / "checkpoints" / "step-000000100"
while process.poll() is None and not middle.exists():
    time.sleep(0.01)
process.send_signal(signal.SIGKILL)
process.wait()
reached = sorted(path.name for path in middle.parent.glob("step-*"))
print(f"killed (exit code {process.returncode}); checkpoints on disk: {', '.join(reached)}")

after_kill = train_shards(config, resume=True)
in_peace = train_shards(config.with_values(out=str(folder / "in_peace")))
same = [
    torch.equal(a, b)
    for a, b in zip(after_kill.sae.parameters(), in_peace.sae.parameters(), strict=True)
]
print(
    f"resumed from {reached[-1]} to step {config.steps}: the same weights to the last bit: {all(same)}"
)

# %% [markdown]
# The same command by hand: `steerlab train --config 8k --data residuals --out sae`, and after
# whatever happened once more with `--resume`. A half-written checkpoint cannot be mistaken for one:
# it is a folder under another name until it is complete, like the shards of Part 1.
#
# ### Two processes
#
# One more way to do the same thing. `torchrun` starts several processes, each with its own part of
# every batch. After each backward pass they average their gradients, and all make the same step.
# Two processes with 128 residuals each should do what one does with 256. To the same bits? A sum of
# 256 terms and a sum of two sums of 128 are rounded differently, and TopK has to decide about near
# ties. So the single process below takes its batch in two parts, too (`accumulate=2`).

# %% tags=["explore"]
half_batch = config.with_values(out=str(folder / "two"), batch_size=128, steps=100)
torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
started = time.perf_counter()
process = steerlab_train(half_batch, torchrun)
_, trouble = process.communicate(timeout=300)
if process.returncode:
    print("torchrun did not work here:", trouble.decode().strip().splitlines()[-1])
else:
    two = [json.loads(line) for line in (folder / "two" / "history.jsonl").open()]
    alone = train_shards(
        config.with_values(out=str(folder / "one"), accumulate=2, steps=100)
    ).history
    gaps = [
        abs(line["loss"] - other.loss) / other.loss for line, other in zip(two, alone, strict=True)
    ]
    seconds = time.perf_counter() - started
    print(
        f"torchrun --nproc-per-node 2 -m steerlab.cli train …   ({seconds:.0f} s, both trainings)"
    )
    print(f"loss at the end: two processes {two[-1]['loss']:.6f}, one {alone[-1].loss:.6f}")
    print(f"largest relative difference along {len(gaps)} points of the curve: {max(gaps):.1e}")

# %% [markdown]
# On one small machine that is no faster; most of the time goes into starting. On eight GPUs it is
# what makes a million features possible. And it is the same training, which is what you want to
# know *before* you rent the GPUs.

# %% [markdown]
# ## Part 3 · Latents that died
# *25 minutes, 2 points*
#
# A latent whose pre-activation is below zero on *every* token gets no gradient, from nowhere: the
# ReLU is flat there. It has died, and takes its share of the memory and of the multiplications with
# it for the rest of the training. In a badly set run that can be most of a dictionary; of the 34
# million latents in the largest one of Claude 3 Sonnet it was about two thirds (Templeton et al.
# 2024).
#
# The usual cure is **resampling** (Bricken et al. 2023). Every so often, latents that have long
# been silent are given a new life, pointed at inputs that the living ones do badly on:
#
# 1. For each dead latent draw an input $x_t$ with a probability proportional to $\lVert x_t - \hat x_t\rVert^4$, the square of
#    its loss, so that really bad ones stand out. (With replacement: an input may be drawn twice.)
# 2. Its direction is $u = (x_t - b_\text{dec}) / \lVert x_t - b_\text{dec}\rVert$.
# 3. Its row of `W_dec` becomes $u$, at the *mean norm of the living rows*.
# 4. Its column of `W_enc` becomes $u$, at *a fifth* of the mean norm of the living columns, and `b_enc` becomes 0: it speaks
#    up softly, so that it does not upset those who can do it already.
# 5. Adam forgets it: `exp_avg` and `exp_avg_sq` are 0 in its row of `W_dec`, its column of `W_enc` and its entry of `b_enc`.
# 6. It has not been silent yet: `silent` is 0.
#
# Step 3 looks like a detail, and is where recipes from different sources do not mix. In the
# original recipe decoder rows have norm 1, and so the new ones do. With *our* loss the norms are
# free and are paid for: $\lambda f_i \lVert W_{\text{dec},i}\rVert$. A latent that comes in with
# another norm than all others comes in at another price for the same activation.
#
# And step 5 is the one that is forgotten. What Adam remembers of a dead latent is the end of its
# first life.


# %% nbgrader={"grade": false, "grade_id": "resample", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 07_scaling_saes/resample
def resample(
    state: dict[str, Tensor],
    dead: Bool[Tensor, "d_sae"],
    x: Float[Tensor, "n d_model"],
    error: Float[Tensor, "n d_model"],
) -> dict[str, Tensor]:
    """A state in which the dead latents point at badly reconstructed inputs.

    state: names and shapes as in Part 2. dead: True for the latents to resample; at least one is dead,
    and at least one is not. x: some scaled inputs; error: x - x_hat for each. Returns a state with the
    same names, changed by steps 1 to 6 and nowhere else; the one that was given stays as it is.
    """
    ### BEGIN SOLUTION
    # canary-89d6a33e89670fdbcf4ac52b94e2ecdc
    state = {name: tensor.clone() for name, tensor in state.items()}
    weights = error.square().sum(dim=1).square()
    drawn = torch.multinomial(weights, int(dead.sum()), replacement=True)
    centred = x[drawn] - state["b_dec"]
    direction = centred / centred.norm(dim=1, keepdim=True)
    price = state["W_dec"][~dead].norm(dim=1).mean()
    loudness = 0.2 * state["W_enc"][:, ~dead].norm(dim=0).mean()
    state["W_dec"][dead] = price * direction
    state["W_enc"][:, dead] = loudness * direction.T
    state["b_enc"][dead] = 0
    state["silent"][dead] = 0
    for moment in ("exp_avg", "exp_avg_sq"):
        state[f"{moment}.W_dec"][dead] = 0
        state[f"{moment}.W_enc"][:, dead] = 0
        state[f"{moment}.b_enc"][dead] = 0
    return state
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "resample_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 07_scaling_saes/resample  (hidden tests run here when your work is graded)

# %%
checks.check_resample(resample)

# %% [markdown]
# <details><summary>How do I draw with given probabilities?</summary>
#
# `torch.multinomial(weights, n, replacement=True)` draws n places; the weights need not add up to 1.
# $\lVert e\rVert^4$ is the square of $\lVert e\rVert^2$, and that is a sum of squares.
# </details>
#
# <details><summary>How do I write into some rows, or some columns, at once?</summary>
#
# A tensor of `True` and `False` is an index: `W[dead]` are the rows where it is True, `W[:, dead]`
# the columns, `W[~dead]` all other rows. One can assign to them. New columns are the transpose of
# new rows.
# </details>

# %% [markdown]
# The next cell does to a training what one bad batch can do to a real one: at step 100 the biases
# of a third of the latents are thrown far below zero, and these latents fall silent. It is
# continued three times: left alone; resampled at steps 160 and 260; and resampled in the same way,
# except that afterwards Adam is given back what it remembered.

# %% tags=["explore"]
resampled_at = [160, 260]


def error_of(sae, batch):
    with torch.no_grad():
        code = torch.relu((batch - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"])
        return batch - code @ sae["W_dec"] - sae["b_dec"]


injured = new_run(n_steps=400)
injured.advance(100)
with torch.no_grad():
    injured.sae["b_enc"][::3] -= 5.0
at_100 = save_state(injured)


def revive(run, forget):
    """Your resampling of all latents that have been silent for 50 steps; which ones they were."""
    state, dead = save_state(run), (run.silent >= 50).to(device)
    if dead.any() and not dead.all():
        batch = x[:4096]
        revived = resample(state, dead, batch, error_of(run.sae, batch))
        if not forget:
            revived |= {name: state[name] for name in state if name.startswith("exp_avg")}
        load_state(run, revived)
    return dead


curves, moved = {}, {}
for name, forget in {"left alone": None, "resampled": True, "…, Adam not reset": False}.items():
    torch.manual_seed(0)
    run, curves[name] = new_run(n_steps=400), []
    load_state(run, at_100)
    while run.steps_done < run.n_steps:
        dead = None
        if forget is not None and run.steps_done in resampled_at:
            dead = revive(run, forget)
        before = run.sae["W_dec"].detach().clone()
        run.advance(20)
        if dead is not None and name not in moved:
            moved[name] = float((run.sae["W_dec"].detach() - before)[dead].norm(dim=1).mean())
        fvu, l0, share = judged(run.sae, held[:4000])
        curves[name].append({"step": run.steps_done, "fvu": fvu, "l0": l0, "dead": share})
plots.dead_latents(
    curves,
    n=f"{len(held[:4000]):,} held-out tokens, d_sae {4 * d_model}",
    resampled_at=resampled_at,
)
for name, path in curves.items():
    last, way = path[-1], moved.get(name)
    print(
        f"{name:18} dead {last['dead']:6.1%}  FVU {last['fvu']:.4f}  L0 {last['l0']:.1f}"
        + (f"  a revived row moves by {way:.3f} in its first 20 steps" if way is not None else "")
    )
print("computed now")

# %% [markdown]
# Left alone, the injured latents stay dead to the end: nothing in the training can reach them. One
# resampling brings nearly all of them back. It costs something at first, since newcomers disturb:
# look at FVU and L0 right after the first dotted line.
#
# And Adam? In the count of dead latents there is no difference, and if you had looked there only
# you would say that step 5 is superfluous. The last column tells another story. After 60 silent
# steps, $m$ has all but gone ($0.9^{60}$ is 0.002), while $v$ still has 94% of what it was in the
# latent's first life, when gradients were large. Adam divides by its root. So the revived rows of
# the third training move by more than a third less, just when they have everything to learn; and in
# the end its FVU is a little higher. In a long training with a resampling every few thousand steps
# nobody would notice; the recipe just seems to work less well than its authors say.

# %% [markdown]
# ## Part 4 · How large a dictionary? With a result that fails
# *30 minutes, 2 points*
#
# Is a dictionary of 65,536 features better than one of 8,192? It is always "better" in one sense:
# with more directions to choose from, the same number of them comes closer. The questions are how
# much closer, and at what price. Across many kinds of networks, quantities like this follow a
# **power law** (Kaplan et al. 2020; for autoencoders Gao et al. 2024):
#
# $$\text{FVU}(n) \approx c + a\, n^{-\alpha}.$$
#
# $\alpha$ says how fast more latents pay off: twice the dictionary divides the part above $c$ by
# $2^\alpha$. And $c$ is what no dictionary of any size removes. Without it ($c = 0$) the law is a
# straight line when both axes are logarithmic, $\log \text{FVU} = \log a - \alpha \log n$, which
# two points determine and which is therefore easily believed.
#
# ### At the same L0
#
# "All else equal" has a catch here. Train ReLU autoencoders of five sizes with *one and the same
# λ*, and something else changes with the size.
#
# ### Predict: what becomes of L0?
#
# With λ fixed, the smallest dictionary has this many latents active on a token (see the cell). How
# many has one that is 16 times as large?

# %% tags=["explore"]
from steerlab.sae import load_scaling

recorded = load_scaling(settings.name)
if recorded is None:
    print(f"No recorded trainings ship with {settings.name}: a few small sizes are trained below.")
else:
    smallest = recorded.points["relu"][0]
    print(f"ReLU, λ = {recorded.sparsity}: {smallest['d_sae']} latents, L0 {smallest['l0']:.1f}")
    print(recorded.made)

# %% tags=["predict"]
answer = 50  # latents active on a token
l0_prediction = predict(
    "At the same λ, with 16 times as many latents: how many are active on a token?",
    answer,
    key="l0",
    unit="latents",
    low=0,
    high=4096,
)

# %% tags=["explore"]
if recorded is not None:
    relu, topk = recorded.points["relu"], recorded.points["topk"]
    plots.sparsity_by_size(relu, topk, l0_prediction, n=recorded.n, provenance=recorded.made)
    if l0_prediction.filled:
        print(l0_prediction.beside(relu[-1]["l0"]))

# %% [markdown]
# At first little changes; over the last two doublings it more than doubles. λ is the price of
# activation times norm, not of a number of latents. A wider dictionary has a closer fit on offer
# for every token, and so more offers that are worth their price. What is more, the blue FVU stops
# falling and turns up: very likely the widest ReLU dictionary is still busy making its code sparser
# when its 1,500 steps are over. Whoever fits a law to the blue points fits a mixture of three things: the
# size, the L0 that happened to come out, and how far each training got.
#
# TopK autoencoders have their L0 by construction, which is why they are so convenient here. In
# general one trains at several λ and compares at equal L0.
#
# Your function gets points of all kinds and the L0 at which to compare. Only points whose L0 is
# within 5% of it count. To find $c$, it tries every offset that it is offered. For each $c$ it fits
# a straight line to $\log(\text{FVU} - c)$ against $\log n$, by least squares; offsets that are not
# below all FVUs are passed over. The best offset is that whose law misses the measured points
# least, by the sum of squares of $\log \text{FVU} - \log(c + a\, n^{-\alpha})$.


# %% nbgrader={"grade": false, "grade_id": "fit_law", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 07_scaling_saes/fit_law
def fit_law(
    points: list[dict[str, float]], l0: float, offsets: list[float]
) -> tuple[float, float, float]:
    """(a, alpha, c) of FVU = c + a * d_sae ** -alpha, for the points at one L0.

    points: {"d_sae", "l0", "fvu"} (other names may be there, too), in any order. Those whose l0
    differs from the given one by more than 5% of it are left out; at least three of different sizes
    remain. offsets: the values of c to try, one of them at least below all remaining FVUs. For each
    such c, a and alpha are those of the line fitted to log(fvu - c) against log(d_sae) by least
    squares. The c returned has the smallest sum of squares of
    log(fvu) - log(c + a * d_sae ** -alpha).
    """
    ### BEGIN SOLUTION
    # canary-89d6a33e89670fdbcf4ac52b94e2ecdc
    kept = [point for point in points if abs(point["l0"] - l0) <= 0.05 * l0]
    log_n = np.log([point["d_sae"] for point in kept])
    fvu = np.array([point["fvu"] for point in kept])
    best, least = None, math.inf
    for c in offsets:
        if c < fvu.min():
            slope, start = np.polyfit(log_n, np.log(fvu - c), 1)
            missed = np.log(fvu) - np.log(c + np.exp(start + slope * log_n))
            if np.square(missed).sum() < least:
                least = np.square(missed).sum()
                best = (float(np.exp(start)), float(-slope), float(c))
    return best
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "fit_law_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 07_scaling_saes/fit_law  (hidden tests run here when your work is graded)

# %%
checks.check_fit_law(fit_law)

# %% [markdown]
# <details><summary>How do I fit a straight line?</summary>
#
# `np.polyfit(u, v, 1)` gives `(slope, intercept)` of the line that is closest to the points in
# squares of vertical distance. Here `u` is $\log n$ and `v` is $\log(\text{FVU} - c)$; the
# intercept is $\log a$, and the slope is $-\alpha$.
# </details>
#
# <details><summary>Why are the misses taken in <code>log(fvu)</code>, and not in what the line was fitted to?</summary>
#
# Because $\log(\text{FVU} - c)$ is another quantity for every $c$: as $c$ comes near the smallest
# FVU, one of its values runs off to minus infinity. Different offsets can be compared only by how
# well they explain the *same* numbers.
# </details>

# %% [markdown]
# ### A result that fails: a size that the law has not seen
#
# A law that has been fitted to seven points describes seven points. To find out whether it is a
# law, leave the largest out, fit the others, and let them predict it. First let yourself predict
# it: the cell prints the FVU at all sizes but the largest.

# %% tags=["explore"]
if recorded is not None:
    *fitted, largest = topk
    longer = recorded.points["longer"][0]
    print(f"TopK, k = {recorded.k}, {recorded.steps} steps; {recorded.made}")
    print("   size    FVU   dead  loss recovered  processor seconds")
    for point in fitted:
        print(
            f"{point['d_sae']:7,} {point['fvu']:.4f} {point['dead']:6.1%}  {point['loss_recovered']:14.4f}"
            f"  {point['cpu_seconds']:17.0f}"
        )
    print(f"{largest['d_sae']:7,}      ?")

# %% tags=["predict"]
answer = 0.01  # FVU of the largest
fvu_prediction = predict(
    "What is the FVU of the largest dictionary, twice as large as the largest in the table?",
    answer,
    key="fvu",
    low=0,
    high=1,
)

# %% tags=["explore"]
from steerlab.sae import Recipe, evaluate_sae, train_sae

sizes, live_steps = (2 * d_model, 8 * d_model), 500
trained, live = {}, []
raw, held_raw = rows.float().to(device), held / factor
for size in sizes:
    recipe = Recipe("topk", d_sae=size, k=16, steps=live_steps, batch_size=512)
    started = time.process_time()
    done = train_sae(raw, recipe, hook_name=hook_name, model_name=settings.name)
    cost = time.process_time() - started
    found = evaluate_sae(done.sae, held_raw)
    trained[size] = done.sae
    live.append({"d_sae": size, "l0": found.l0, "fvu": found.fvu, "cpu_seconds": cost})
    print(f"trained now: {size:6,} latents, {live_steps} steps, FVU {found.fvu:.4f}, {cost:.0f} s")

if recorded is not None:
    grid = np.linspace(0, min(point["fvu"] for point in fitted), 400, endpoint=False).tolist()
    laws = {
        "a·n^(−α)": fit_law(fitted, recorded.k, [0.0]),
        "c + a·n^(−α)": fit_law(fitted, recorded.k, grid),
    }
    plots.scaling_law(
        fitted,
        laws,
        largest,
        {
            f"trained now, {live_steps} steps": live,
            f"recorded, {longer['steps']:,} steps": [longer],
        },
        fvu_prediction,
        n=recorded.n,
        provenance=recorded.made,
    )
    if fvu_prediction.filled:
        print(fvu_prediction.beside(largest["fvu"]))
        for name, (a, alpha, c) in laws.items():
            guess = c + a * largest["d_sae"] ** -alpha
            print(f"{name:14} a {a:.3f}, α {alpha:.3f}, c {c:.4f}: predicts {guess:.4f}")
        times = longer["steps"] / largest["steps"]
        print(
            f"measured {largest['fvu']:.4f}; with {times:.0f} times the steps {longer['fvu']:.4f}"
        )
        # The same fit where λ was fixed, as if the points had one L0.
        blind = [point | {"l0": recorded.k} for point in relu]
        print(f"ReLU at one λ, L0 ignored: α {fit_law(blind, recorded.k, [0.0])[1]:.3f}")

# %% [markdown]
# It fails. The straight line has gone through seven points, over a factor of 16 in size, and
# promises 0.011 for the eighth. The law with an offset promises 0.0155. Measured is 0.0183: twice
# the latents have bought next to nothing.
#
# The diamond says why. It is the same dictionary, trained three times as long, and its FVU is
# 0.012. The large one had not finished. All sizes got 1,500 steps, which is plenty for 64 latents;
# but of 2,048 each is one of the 16 active ones only on every 128th token, and has seen that much
# less of what it is to learn. The points do not follow a law in $n$ alone. They follow one in $n$
# *and* in training, cut along a line on which the second was held fixed. (Published laws let each
# size train until nothing moves, or choose size and steps together for a budget of arithmetic: Gao
# et al. 2024.) Your stars, with a third of the steps, show the same in small.
#
# And look at $c$. The fit said that no dictionary, however large, gets below 0.0121. One did. An
# offset is what bends a line the way the points bend. Whether it is a floor or a lack of patience,
# the fit cannot know.
#
# **What it costs.** Seconds grow more slowly than the size here, since TopK writes only $k$ rows
# per token; the encoder, which has to look at every latent, takes over in the end. For a budget of
# so many seconds, would you have spent yours on twice the latents or on three times the steps?

# %% [markdown]
# ## Part 5 · Names for a thousand features
# *25 minutes, 2 points*
#
# A trained dictionary is a list of numbers. In notebook 03 you had a concept and looked for its
# feature. Now turn the question round: here are a thousand features, what is each of them called?
# With a million of them nobody reads contexts one by one. Names are given *automatically*, by a
# language model that reads the top contexts (the original used one over an API; `steerlab find
# --endpoint URL` does so here), or, where documents carry labels, by those. Either way the name of
# a feature is a guess, chosen as the best of many, and must be tested on documents that had no part
# in choosing it.
#
# The score of a feature on a document is its mean activation over the tokens. For each feature:
#
# - its **name** is the concept whose documents it tells from the other labelled ones with the highest AUROC, on the *choosing*
#   documents;
# - the **score of the name** is the AUROC of that concept on the *judging* documents;
# - documents without a label take no part;
# - a feature that is 0 on every choosing document has no name. (Its AUROC is 0.5 for each concept, and the "best" of
#   those is whichever comes first: a dictionary with many dead latents seems to be full of that concept.)
#
# You wrote the AUROC in notebook 03. Here it comes with the library: `auroc(scores [document,
# feature], positive [document])` gives one number for each feature.


# %% nbgrader={"grade": false, "grade_id": "name_features", "locked": false, "schema_version": 3, "solution": true, "task": false}
# graded: 07_scaling_saes/name_features
def name_features(
    choose_scores: Float[Tensor, "n_choose d_sae"],
    choose_labels: list[str | None],
    judge_scores: Float[Tensor, "n_judge d_sae"],
    judge_labels: list[str | None],
) -> list[tuple[str, float] | None]:
    """For each feature (name, score of the name), or None for one that never fires.

    Scores hold one row for each document, labels one concept for each document or None. Both halves have
    documents of every concept. The name is the concept with the highest AUROC, against all other
    labelled documents, on the choosing half; the score is that concept's AUROC on the judging half, a
    float. A feature that is 0 on all choosing documents gets None.
    """
    ### BEGIN SOLUTION
    # canary-89d6a33e89670fdbcf4ac52b94e2ecdc
    concepts = sorted({label for label in choose_labels if label is not None})

    def areas(scores, labels):
        kept = [i for i, label in enumerate(labels) if label is not None]
        by_concept = []
        for concept in concepts:
            positive = torch.tensor([labels[i] == concept for i in kept])
            by_concept.append(auroc(scores[kept], positive))
        return torch.stack(by_concept)

    chosen = areas(choose_scores, choose_labels).argmax(dim=0).tolist()
    judged = areas(judge_scores, judge_labels)
    fires = (choose_scores > 0).any(dim=0)
    return [
        (concepts[best], float(judged[best, i])) if fires[i] else None
        for i, best in enumerate(chosen)
    ]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "name_features_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}
# score: 07_scaling_saes/name_features  (hidden tests run here when your work is graded)

# %%
checks.check_name_features(name_features)

# %% [markdown]
# <details><summary>How do I choose with one table and read from another?</summary>
#
# Make two tables `[concept, feature]` of AUROCs, one of each half. `argmax(dim=0)` of the first
# says for each feature which row is best. Read *that row* of the second.
# </details>

# %% [markdown]
# The dictionary is the larger of the two that you have just trained. Beside the real names stand two
# controls: names given in the same way by *shuffled* labels, and names of an *untrained* dictionary.

# %% tags=["explore"]
import random

from IPython.display import HTML, display
from steerlab.sae import SAE, FeatureLabel, context_cards, contexts, document_scores

sae = trained[max(trained)]
half_texts = [topic_texts(settings.topics, settings.n_topic_texts // 2, seed=s) for s in (51, 52)]
(choose, choose_labels), (judge, judge_labels) = [(read(t), labels) for t, labels in half_texts]
halves = {}


def names_of(encode, labels=(choose_labels, judge_labels), key=None):
    """Your names for a dictionary; the document means are kept under `key`."""
    if key not in halves:
        halves[key] = [document_scores(part, hook_name, encode) for part in (choose, judge)]
    return name_features(halves[key][0], labels[0], halves[key][1], labels[1])


mixed = [random.Random(0).sample(labels, len(labels)) for labels in (choose_labels, judge_labels)]
start = random_start(sae.d_sae, norm=1.0)
untrained = SAE(**{name: tensor.cpu() for name, tensor in start.items()})
ways = {
    "trained": names_of(sae.encode, key="trained"),
    "trained, shuffled labels": names_of(sae.encode, mixed, key="trained"),
    "untrained": names_of(lambda part: untrained.encode(part * factor), key="untrained"),
}
topics = sorted(set(choose_labels))
print(f"{'':26} named  median score   above 0.9   topics with a name above 0.9")
for way, names in ways.items():
    scores = [name[1] for name in names if name is not None]
    covered = {name[0] for name in names if name is not None and name[1] > 0.9}
    median = float(torch.tensor(scores).median()) if scores else float("nan")
    print(
        f"{way:26} {len(scores):5}  {median:12.2f}   {sum(s > 0.9 for s in scores):9}"
        f"   {len(covered)} of {len(topics)}"
    )
print(f"n = {len(choose_labels)} documents choose, {len(judge_labels)} judge, computed now")

# %% tags=["explore"]
# Not finished yet? Take the `#` away from these lines; come back later.
# from steerlab.sae import match_concepts
# means = [document_scores(part, hook_name, sae.encode) for part in (choose, judge)]
# matches = match_concepts(means[0], choose_labels, means[1], judge_labels)
# ways = {"trained": [None] * sae.d_sae}
# for match in matches:
#     ways["trained"][match.feature] = (match.concept, match.held_out)
# topics = [match.concept for match in matches]

names = ways["trained"]
facts = evaluate_sae(sae, judge.values[hook_name].float().to(device))
best_of = {}
for feature, name in enumerate(names):
    if name is not None and name[1] > best_of.get(name[0], (0, -1.0))[1]:
        best_of[name[0]] = (feature, name[1])
by_rate = sorted(best_of.items(), key=lambda found: float(facts.rate[found[1][0]]))
marked = [by_rate[0], by_rate[-1]] if by_rate else []
plots.names_of_features(
    [float(facts.rate[i]) for i, name in enumerate(names) if name is not None],
    [name[1] for name in names if name is not None],
    {topic: (float(facts.rate[i]), score) for topic, (i, score) in marked},
    n=f"{sum(name is not None for name in names)} named features, {len(judge_labels)} judging documents",
)
shown = [feature for feature, _ in sorted(best_of.values(), key=lambda found: -found[1])[:3]]
labels = {
    i: FeatureLabel(i, *names[i], (), float(facts.rate[i]), float(facts.p999[i])) for i in shown
}
cards = [contexts(judge, hook_name, sae, i, model.tokenizer, n=4) for i in shown]
display(HTML(context_cards(cards, labels)))
print(f"n = {facts.n_tokens:,} tokens of the judging documents, computed now")

# %% [markdown]
# Read the table twice. The number of *named* features says nothing: every living feature gets a
# name, by shuffled labels too. The median score says something surprising: the **untrained**
# dictionary has the better one. Its latents are random mixtures, active on half of all tokens, and
# a bit of every topic leaks into each. The trained ones are active on about one token in a hundred,
# most of them for something that no label of ours speaks of (a position, an ending, a comma), and
# there the best of twelve names is worth a coin. What training has changed is the upper end: dozens
# above 0.9 and every topic among them, against a handful. With shuffled labels nobody gets there.
# So a name is worth its score, and a *dictionary* is not worth its number of names.
#
# For a dictionary on disk the same is one command, which writes the labels, the cards and the list
# of dead latents into a folder: `steerlab find sae --data residuals`.

# %% [markdown]
# ## Part 6 · What should I do with \$5?
# *25 minutes*
#
# This is what all the work was for. Open Concept Steering asks OLMo 2 what to do with five dollars,
# with its feature for Batman, for Japan or for baseball turned up, and gets an answer from someone
# who thinks of nothing else. Our model has never heard of Batman (nor, in fact, of dollars). It
# knows baseball. We take the feature that *your* names say is about it, or the best-named one where
# the model's topics are others, and clamp it.

# %% tags=["explore"]
from steerlab.data import words_of_topics
from steerlab.evaluation import decoder_rows_like, mean_fluency, on_topic
from steerlab.sae import ClampFeatures
from steerlab.steering import AddVector, dose_of, generate, steer

QUESTION = "What should I do with $5?"
# A chat model gets its own markers from the library; for others we write a dialogue by hand.
prompt = QUESTION if settings.mode == "chat" else f"User: {QUESTION}\nAssistant:"
topic = "baseball" if "baseball" in best_of else max(best_of, key=lambda t: best_of[t][1])
feature, name_score = best_of[topic]
words = words_of_topics(settings.topics, half_texts[1][0], judge_labels)[topic]


def clamped(feature, dose, sae=sae):
    """Your feature, clamped so high that the push has this dose on the prompt."""
    if dose == 0:
        return lambda resid: resid
    ten = {hook_name: ClampFeatures(sae, {feature: 10.0})}
    per_unit = dose_of(model, ten, [prompt], mode=settings.mode) / 10
    return ClampFeatures(sae, {feature: dose / per_unit}) if per_unit else lambda resid: resid


def answers(act, n=16, seed=0):
    with steer(model, {hook_name: act}):
        return generate(
            model, [prompt] * n, max_new_tokens=settings.max_new_tokens, temperature=1.0,
            seed=seed, mode=settings.mode, batch_size=n,
        )  # fmt: skip


print(f"feature {feature}, named {topic!r} with a score of {name_score:.2f}; computed now")
print(f"the prompt: {prompt!r}\n")
for dose in (0.0, settings.dose / 2, settings.dose):
    print(f"dose {dose:.1f}: {answers(clamped(feature, dose), n=1, seed=5)[0].text.strip()!r}")

# %% [markdown]
# Three answers are an anecdote. An answer counts as *on the topic* if it has two different words of
# it, and beside the share of those stands the price, the rise of the NLL under the unsteered model
# (notebook 01). And the found feature has rivals at the same dose: directions drawn at random, and
# decoder rows of other features that fire about as often.
#
# ### Predict: the curve

# %%
doses = [0.0, *(round(share * settings.dose, 2) for share in (0.25, 0.5, 0.75, 1.0))]
print("doses:", doses)

# %% tags=["predict"]
answer = [0.1, 0.3, 0.5, 0.7, 0.9]  # one share for each dose
curve_prediction = predict(
    "The share of answers on the topic at each dose, lowest first:",
    answer,
    key="curve",
    at=doses,
    low=0,
    high=1,
)

# %% tags=["explore"]
n_answers = 24
like, _ = decoder_rows_like(sae, facts.rate, 4, seed=0, feature=feature)
isotropic = torch.randn(4, d_model, generator=torch.Generator().manual_seed(0))


def pushed_by_turns(directions):
    """An intervention for each dose: answer i of a batch is pushed along direction i, by turns."""
    unit = []
    for direction in directions.to(device):
        push = {hook_name: AddVector(direction, 1.0)}
        unit.append(direction / dose_of(model, push, [prompt], mode=settings.mode))
    by_turns = torch.stack([unit[i % len(unit)] for i in range(n_answers)])[:, None]
    return lambda dose: lambda resid: resid + (dose * by_turns).to(resid)


def measured(act, n=n_answers):
    """(share on the topic, fluency) of n answers under an intervention."""
    written = answers(act, n)
    on = sum(on_topic(answer, words) for answer in written) / len(written)
    return on, mean_fluency(model, written)


plain_share, plain_fluency = measured(clamped(feature, 0.0), 4 * n_answers)
families = {
    f"feature {feature}, {topic}": lambda dose: clamped(feature, dose),
    "decoder rows of other features": pushed_by_turns(like),
    "random directions": pushed_by_turns(isotropic),
}
shares, costs = {}, {}
for name, family in families.items():
    shares[name], costs[name] = [plain_share], [0.0]
    for dose in doses[1:]:
        share, fluency = measured(family(dose))
        shares[name].append(share)
        costs[name].append(None if fluency.nll is None else fluency.nll - plain_fluency.nll)
plots.found_feature(
    doses,
    shares,
    costs,
    curve_prediction,
    n=f"{n_answers} answers a point ({4 * n_answers} unsteered), 4 directions a control family",
    ylabel=f"share of answers about {topic}",
)

# %% [markdown]
# It works. At half the dose of the course two answers in three are about baseball, and the price is
# a fifth of a nat per token. The same answer as before, word for word, "stop hiding the …", now
# ends in an umpire and a bunt. Other features and random directions at the same dose stay about
# where the unsteered answers are, and that is not zero: one unsteered answer in six has two words
# of the topic by itself, so a share of 0.2 would have been nothing. At the full dose every answer
# is on the topic, at 2.4 nats a token. The line printed above shows what they look like.
#
# (What it does *not* do is answer the question. A model that has never read of money does not learn
# of it from a feature for baseball. A feature changes what is talked about. It does not add what is
# known.)
#
# ### Play
#
# The explorer has the best-named feature of each topic. Ask your own question. What does the model
# do when two topics pull: a question about the ocean with baseball turned up?

# %% tags=["explore"]
from dataclasses import replace

from steerlab.widgets import SteeringExplorer


def picked(feature):
    reference = float(facts.p999[feature]) or 1.0
    return lambda share: {hook_name: ClampFeatures(sae, {feature: share * reference})}


SteeringExplorer(
    model,
    {f"{t}: feature {i}": picked(i) for t, (i, _) in sorted(best_of.items())},
    settings=replace(settings, prompts=(prompt, *settings.prompts)),
    temperature=1.0,
)

# %% [markdown]
# ## Part 7 · A defect to find, and one more claim to test
# *20 minutes*
#
# ### The defect: whose norm?
#
# The training script that this notebook comes from uses the loss that you know, in which an
# activation is weighed by the norm of its decoder row. And after every step it sets all decoder
# rows to norm 1. Notebook 02 asked whether that spoils the result. Here the question is what it
# does to the *optimizer*, and to whoever gets the file.
#
# The first part of the cell trains twice, once with free norms and once with norms that are set
# back, and measures how much of what Adam does to `W_dec` is undone right afterwards: the share of
# each step (in squares) that points along the row itself. The second part takes the run with the
# *free* norms, and tidies it up for publication in the same spirit: all rows to norm 1.


# %% tags=["explore"]
def tidied(sae):
    """The same autoencoder with decoder rows of norm 1, or is it?"""
    norms = sae["W_dec"].norm(dim=1)
    return sae | {"W_dec": sae["W_dec"] / norms[:, None]}  # repair this line


def train_and_watch(force):
    """A run, and the share of the steps of W_dec that lies along its rows."""
    run, along, everything = new_run(), 0.0, 0.0
    while run.steps_done < run.n_steps:
        before = run.sae["W_dec"].detach().clone()
        run.advance(1)
        with torch.no_grad():
            step = run.sae["W_dec"] - before
            unit = torch.nn.functional.normalize(before, dim=1)
            if run.steps_done > run.n_steps // 5:
                along += float((step * unit).sum(1).square().sum())
                everything += float(step.square().sum())
            if force:
                run.sae["W_dec"] /= run.sae["W_dec"].norm(dim=1, keepdim=True)
    return frozen(run), along / everything


free, along_free = train_and_watch(force=False)
forced, along_forced = train_and_watch(force=True)
print(f"share of a step of W_dec along its row: free {along_free:.0%}, forced {along_forced:.0%}")
print("(where norms are forced, that share is undone after every step)\n")
print(f"{'':28} FVU     L0   mean norm of rows")
for name, each in {"free": free, "forced": forced, "free, then tidied": tidied(free)}.items():
    fvu, l0, _ = judged(each, held)
    print(f"{name:22} {fvu:9.4f}  {l0:5.1f}   {float(each['W_dec'].norm(dim=1).mean()):.2f}")
print(f"n = {len(held):,} held-out tokens, computed now")

# %% [markdown]
# **Two questions.** Which of the two, the weight in the loss or the norm 1, would you take out of
# the script, and what does the other one then have to be? And: repair the marked line so that the
# third row of the table equals the first.
#
# <details><summary>Which one has to go?</summary>
#
# Either. With all norms at 1 the weight in the loss multiplies by 1, and does no work *in the
# value* of the loss. But its *gradient* is not zero: it pulls every active row inwards, at every
# step. Adam follows, remembers, and normalises by what it remembers; then the row is put back, and
# Adam is not told. (A share of 4% in squares is a fifth of the length of a step.) The table shows
# no disaster: the two runs lie at different places, one with the lower FVU, the other with the
# lower L0. With free norms, keep the weight and drop the line that sets the norm. With norms at 1,
# take the norm out of the loss, and take the part along the row out of the gradient *before* Adam
# sees it.
# </details>
#
# <details><summary>How do I make norms 1 without changing the autoencoder?</summary>
#
# What a latent writes is $f_i W_{\text{dec},i}$. If the row becomes shorter by $\lVert
# W_{\text{dec},i}\rVert$, the activation has to become larger by the same factor, and a ReLU lets a
# positive factor through: multiply column $i$ of `W_enc` and entry $i$ of `b_enc` by it. `sae |
# {"W_enc": sae["W_enc"] * norms, "b_enc": sae["b_enc"] * norms, "W_dec": …}`. Reconstruction and L0
# stay, and so does even the penalty, $f_i\lVert W_{\text{dec},i}\rVert$: it is the one way of
# measuring activations on which both conventions agree.
# </details>

# %% [markdown]
# ### A better FVU, a better handle?
#
# The law of Part 4 says what a larger dictionary buys: a smaller FVU. One would like to read it as
# "a better handle on the model", and that is another claim, so it takes another measurement. Take
# the two dictionaries that you trained, find and name the best feature of some topics in both,
# clamp each at the same dose in the same dialogue, and count.

# %% tags=["explore"]
n_each, contested = 12, sorted(best_of)[:6]
table = {}
for size, each in trained.items():
    named = names if each is sae else names_of(each.encode, key=size)
    best = dict.fromkeys(contested, (0, 0.0))
    for i, name in enumerate(named):
        if name is not None and name[0] in best and name[1] > best[name[0]][1]:
            best[name[0]] = (i, name[1])
    rates = []
    for t in contested:
        of_topic = words_of_topics(settings.topics, half_texts[1][0], judge_labels)[t]
        written = answers(clamped(best[t][0], settings.dose / 2, each), n_each)
        rates.append(sum(on_topic(answer, of_topic) for answer in written) / n_each)
    table[size] = (best, rates)

print(f"{'':12}" + "".join(f"{size:>22,} latents" for size in table))
print(f"{'topic':12}" + "   name's score  on topic  " * len(table))
for row, t in enumerate(contested):
    cells = [f"{best[t][1]:14.3f} {rates[row]:9.2f}    " for best, rates in table.values()]
    print(f"{t:12}" + "".join(cells))
for (size, (best, rates)), point in zip(table.items(), live, strict=True):
    mean_score = sum(best[t][1] for t in contested) / len(contested)
    print(
        f"{size:6,} latents: FVU {point['fvu']:.4f}, mean score {mean_score:.3f}, "
        f"on topic {sum(rates) / len(rates):.2f}"
    )
print(f"n = {n_each} answers a topic and dictionary at dose {settings.dose / 2:.2f}, computed now")

# %% [markdown]
# On the embedded model the claim survives: 0.42 against 0.25 on average, and no topic of the six
# does worse with the larger dictionary. How much is that? Two dictionaries, one dialogue, one dose,
# twelve answers in each cell, so a single share is uncertain by about ±0.14, and five topics of
# five that differ point the same way (by coin tosses: one time in sixteen, if either direction
# would have done). It is a reason to look further, and no law.
#
# Look at the columns on the right while you are here. The best *name* belongs to cooking, 0.998,
# and its feature moves the text least; baseball has one of the worst names and moves it most. How
# well a feature reads a topic does not say how well it writes it (notebook 03), and neither is what
# FVU measures.

# %% [markdown]
# ## Part 8 · In your own words
# *20 minutes, 5 points*
#
# From an imaginary technical report: *"We trained ReLU autoencoders with 8k, 32k and 131k features
# on one layer, with the same λ. FVU falls as a power law (R² = 0.999 in log–log). Extrapolating, 2M
# features will explain 99% of the variance. The largest run was interrupted four times and
# continued from the saved weights. An automatic labeller found names for 96% of the features,
# 31,000 of them different; a larger dictionary thus holds more of the model's concepts, and gives
# better control over it."*
#
# In about 200 words: name **three** statements in this text that what was done does not support.
# For each, say what you would measure or do differently, and which outcome would speak for the
# authors. Use at least two numbers from *your own* results above. Close with one sentence: what may
# they claim?

# %% [markdown] nbgrader={"grade": true, "grade_id": "written", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# <!-- graded: 07_scaling_saes/written -->
#
# ### BEGIN SOLUTION
#
# canary-89d6a33e89670fdbcf4ac52b94e2ecdc
#
# *Three statements.* (1) **"FVU falls as a power law", with the same λ.** Then L0 is not the same,
# and it is not given. At one λ my L0 went from 7.2 at 64 latents to 16.5 at 1,024, and the exponent
# fitted without regard to that was 0.37, against 0.61 at equal L0. I would train each size at
# several λ and compare at one L0. If FVU still falls as fast, it is the size. (2) **"2M features
# will explain 99%."** Three points, no offset, sixteen times beyond the data. My line went through
# seven points and promised 0.0110 for twice the largest size; measured was 0.0183, and 0.0119 with
# three times the steps. I would leave 131k out, fit the rest, and predict it; and train it longer.
# If the prediction holds to a few percent and more steps change nothing, I would believe the next
# doubling, not four of them. (3) **That the interruptions do not matter.** They continued from the
# weights: no moments, no generator, no schedule. My run without Adam's memory ended 0.9 of the
# remaining way from where it should have been, with a *lower* FVU (0.136 for 0.160), so no curve
# would show it. I would kill a small run and compare it with an undisturbed one. If they are equal,
# fine.
#
# *What may be claimed:* at this λ and number of steps, the larger of three dictionaries has the
# lower FVU, at an L0 that has to be stated.
#
# ### END SOLUTION

# %% [markdown] tags=["author"]
# **Rubric for the written question (5 points)**
#
# | points | for |
# |---|---|
# | 3 | one for each unsupported statement *with* a fitting measurement or change *and* the outcome that would speak for the authors. Half a point where the measurement is named but not what it would show. Sound choices: one λ for all sizes, so L0 differs and the fall in FVU is partly more active latents (compare at equal L0); three points and no offset (leave the largest out and predict it; fit c; more sizes; a straight line in log–log with three points proves little); extrapolation by a factor of 16 beyond the data, equal numbers of steps for all sizes; continued from the weights alone (Adam, generator, schedule: compare with an undisturbed run, or repeat); names chosen and never tested (score on held-out texts, shuffled labels, untrained dictionary; dead or rare features get a name, too); different names are not different concepts (splitting, seeds); no intervention, so nothing about control (steer at equal dose with both sizes, with controls). |
# | 1 | two numbers from the student's own results, quoted with what they are (a bare number: half) |
# | 1 | a last sentence that claims something about these three trainings at their own L0s; "the model's concepts" or "control" earns 0 here |
#
# An answer that lists more than three is graded on its best three. Do not grade style or length.

# %% [markdown]
# ## Bonus
# *no points*
#
# 1. **A law at another price.** The recorded ReLU points have their own L0 each. Train TopK autoencoders with the `k` that
#    matches each of them, and fit the law anew. How much of the fall in FVU was L0?
# 2. **A checkpoint that lies.** Take the `clone()` out of `save_state`, and write a program that saves in the background
#    while it trains (`threading.Thread`). How many of 20 checkpoints are of one step?
# 3. **A model names them.** With access to a chat model: `steerlab find sae --data residuals --endpoint URL --endpoint-model
#    NAME`. Do its names score higher on held-out contexts than those of the labels? On which features do the two disagree?
# 4. **The real thing.** `steerlab train --config 65k --data DIR --column NAME` reads the residuals of OLMo 2 that Open Concept Steering
#    published, and `MODEL = "olmo-2-7b"` loads the model. Which of this notebook's sizes would you have to change?
#
# ## What to keep
#
# - Store bits, not numbers; store sums, not means; write beside, then rename.
# - A checkpoint is everything that the next step depends on. A curve that looks fine proves nothing: compare with an undisturbed run.
# - A latent that is brought back to life needs a new memory, and the price of the others.
# - Compare dictionaries at equal L0. Fit without the largest, and let it be the judge.
# - A name is a guess that was the best of many. Its score comes from documents that did not choose it, beside shuffled labels.
# - FVU, names and control are three things. A law for one of them is silent about the others.
#
# **Sources.** H. Freed 2025, *Open Concept Steering*. Templeton et al. 2024, *Scaling
# Monosemanticity*. Bricken et al. 2023, *Towards Monosemanticity*. Gao et al. 2024, *Scaling and
# evaluating sparse autoencoders*. Conerly et al. 2024, *Update on how we train SAEs*. Kaplan et al.
# 2020, *Scaling Laws for Neural Language Models*. Kingma and Ba 2015, *Adam*. Paulo et al. 2024,
# *Automatically Interpreting Millions of Features in Large Language Models*.
