"""Which model fits which machine, and in what dtype: decided before anything is downloaded.

Everything here is arithmetic on sizes: a model's shape and a machine's free memory go in as data,
a choice comes out. `load_model` and `steerlab doctor` ask the same function, so they agree.

What counts is what a notebook needs, not the weights alone: a KV cache and the activations of the
course's largest batch, the autoencoder that goes with the model, and one GiB for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

from steerlab.hub import GIB, KNOWN, ModelSource, Shape

# The largest batch that the assignments send through a model of the hub, and its longest texts.
COURSE_BATCH = 32
COURSE_TOKENS = 128

SMALL = 0.5  # GiB of weights in float32 up to which half precision saves nothing worth having
NEGLIGIBLE = 0.05  # GiB of weights in float32 up to which a model loads wherever Python runs
RESERVE = 1.0  # GiB for CUDA's context or the rest of the process

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# NF4: half a byte a number, and a float32 scale for each 64 of them.
FOUR_BIT_BYTES = 0.5 + 4 / 64

INSTALL = "pip install bitsandbytes"
ON_CPU = 'device="cpu"'

Device = Literal["cuda", "cpu"]
Verdict = Literal["fits", "fits in 4 bits", "fits in 4 bits with bitsandbytes", "does not fit"]
#: From best to worst.
VERDICTS: tuple[Verdict, ...] = (
    "fits",
    "fits in 4 bits",
    "fits in 4 bits with bitsandbytes",
    "does not fit",
)


@dataclass(frozen=True)
class Machine:
    """What a machine has for a model. Memory in GiB.

    gpu: its name, None without one. native_bfloat16: whether the GPU computes in it (a T4 emulates
    it, many times slower than float16). bitsandbytes: whether it is installed.
    """

    ram_free: float
    gpu: str | None = None
    gpu_free: float = 0.0
    native_bfloat16: bool = False
    bitsandbytes: bool = False


@dataclass(frozen=True)
class Need:
    """Memory that a model takes at work, in GiB."""

    weights: float
    cache: float
    activations: float
    autoencoder: float
    reserve: float = RESERVE

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Choice:
    """How a model is loaded on a machine, what it needs there and what is free, in GiB.

    short: what there is too little of, "GPU memory" or "RAM"; None where it fits.
    """

    device: Device
    dtype: str
    four_bit: bool
    need: Need
    free: float
    verdict: Verdict
    short: str | None = None

    @property
    def loads(self) -> bool:
        """Whether `load_model` loads it so."""
        return self.verdict in ("fits", "fits in 4 bits")

    @property
    def loaded_as(self) -> str:
        """The dtype in words, e.g. "float16" or "4 bits (float16)"."""
        return f"4 bits ({self.dtype})" if self.four_bit else self.dtype


# ---------------------------------------------------------------- what a model needs


def need(shape: Shape, dtype: str, *, four_bit: bool = False, latents: int = 0) -> Need:
    """Memory at work on the course's largest batch, COURSE_BATCH texts of COURSE_TOKENS tokens.

    latents: width of the autoencoder beside it, in float32. Raises ValueError for another dtype
    than BYTES names.
    """
    if dtype not in BYTES:
        raise ValueError(f"dtype {dtype!r}: memory is known for {', '.join(BYTES)}")
    size = BYTES[dtype]
    tokens = COURSE_BATCH * COURSE_TOKENS
    # Embedding and unembedding are not quantised; a shape read from files may know no vocabulary.
    outside = min(shape.parameters, shape.d_vocab * shape.d_model * (1 if shape.tied else 2))
    inside = shape.parameters - outside
    weights = outside * size + inside * (FOUR_BIT_BYTES if four_bit else size)
    cache = 2 * shape.n_layers * shape.n_kv_heads * shape.d_head * tokens * size
    # Logits of every token, twice while they are capped or copied; one text's at a time in float32
    # where their logarithms are taken; and one block: its MLP, its residuals, its attention.
    logits = 2 * tokens * shape.d_vocab * size + 2 * COURSE_TOKENS * shape.d_vocab * 4
    block = tokens * size * (3 * shape.d_mlp + 4 * shape.d_model)
    scores = 2 * COURSE_BATCH * shape.n_heads * COURSE_TOKENS**2 * 4
    autoencoder = 2 * latents * shape.d_model * 4
    return Need(*(each / GIB for each in (weights, cache, logits + block + scores, autoencoder)))


# ---------------------------------------------------------------- what is chosen


def choose(
    shape: Shape,
    machine: Machine,
    *,
    device: Device | None = None,
    dtype: str | None = None,
    latents: int = 0,
) -> Choice:
    """Device, dtype and quantisation for a model of that shape, and whether it then fits.

    device: the GPU where there is one. dtype: float32 for small models and on a CPU with room for
    it; else bfloat16, or float16 on a GPU that only emulates bfloat16; else, on a GPU, 4 bits. A
    model of less than NEGLIGIBLE fits everywhere. What does not fit comes back in the smallest
    form that was tried.
    """
    place: Device = device or ("cuda" if machine.gpu else "cpu")
    free = machine.gpu_free if place == "cuda" else machine.ram_free
    full = shape.parameters * 4 / GIB
    short = None
    for kind, four_bit in _options(full, place, machine, dtype):
        needed = need(shape, kind, four_bit=four_bit, latents=latents)
        short = None if full <= NEGLIGIBLE else _short(needed, place, four_bit, machine)
        if short is None:
            verdict: Verdict = "fits"
            if four_bit:
                verdict = VERDICTS[1 if machine.bitsandbytes else 2]
            return Choice(place, kind, four_bit, needed, free, verdict)
    return Choice(place, kind, four_bit, needed, free, "does not fit", short)


def _options(
    full: float, place: Device, machine: Machine, dtype: str | None
) -> Iterator[tuple[str, bool]]:
    """The ways to load a model of `full` GiB in float32, the best first: (dtype, in 4 bits)."""
    if dtype is not None:
        yield dtype, False
    elif full <= SMALL:
        yield "float32", False
    elif place == "cpu":
        yield "float32", False
        yield "bfloat16", False
    else:
        half = "bfloat16" if machine.native_bfloat16 else "float16"
        yield half, False
        yield half, True


def _short(needed: Need, place: Device, four_bit: bool, machine: Machine) -> str | None:
    """What there is too little of; None where it fits."""
    if place == "cpu":
        return "RAM" if needed.total > machine.ram_free else None
    if needed.total > machine.gpu_free:
        return "GPU memory"
    # Weights are read into RAM and moved from there; quantised ones go to the GPU part by part.
    if not four_bit and needed.weights > machine.ram_free:
        return "RAM"
    return None


def choice_for(source: ModelSource, machine: Machine, device: Device | None = None) -> Choice:
    """How a known model is loaded on a machine."""
    return choose(source.shape, machine, device=device, latents=source.latents)


# ---------------------------------------------------------------- what to choose instead


def alternative(shape: Shape, machine: Machine, device: Device | None = None) -> str:
    """The name of the largest smaller known model that loads on this machine; "tiny" always does."""
    smaller = [
        source
        for source in KNOWN.values()
        if source.shape.parameters < shape.parameters and choice_for(source, machine, device).loads
    ]
    # Of two of one size the later, which answers in a chat.
    return max(reversed(smaller), key=lambda s: s.shape.parameters).name if smaller else "tiny"


def ways_out(shape: Shape, machine: Machine, choice: Choice, latents: int = 0) -> tuple[str, ...]:
    """What to do where a choice does not load, the best first: a command, a device, a model's name.

    Empty where it loads.
    """
    if choice.loads:
        return ()
    ways = []
    if choice.verdict == "fits in 4 bits with bitsandbytes":
        ways.append(INSTALL)
    elif choice.device == "cuda" and choose(shape, machine, device="cpu", latents=latents).loads:
        ways.append(ON_CPU)
    return (*ways, alternative(shape, machine, choice.device))


def refusal(name: str, shape: Shape, machine: Machine, choice: Choice, latents: int = 0) -> str:
    """One sentence for a model that does not load here: what it needs, what there is, the way out."""
    parts = choice.need
    at_work = parts.total - parts.weights
    has = f"{machine.gpu if choice.device == 'cuda' else 'RAM'} has {choice.free:.1f} GiB free"
    if choice.short == "RAM" and choice.device == "cuda":
        has = f"RAM has {machine.ram_free:.1f} GiB free to read it into"
    in_words = {
        INSTALL: f"run `{INSTALL}` and load it again",
        ON_CPU: f"load it with {ON_CPU}, which is slow",
    }
    ways = [
        in_words.get(way, f'use load_model("{way}")')
        for way in ways_out(shape, machine, choice, latents)
    ]
    return (
        f"{name} needs {parts.total:.1f} GiB in {choice.loaded_as}, {parts.weights:.1f} of weights and "
        f"{at_work:.1f} to work with them, and {has}: {', or '.join(ways)}"
    )
