"""Frames between the two processes: what goes in comes out, and nothing malformed gets through."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import struct
import threading
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from autograder.probe import wire
from hypothesis import given, settings
from hypothesis import strategies as st


def no_reference(value: Any) -> dict[str, Any]:
    raise wire.WireError("no data")


def no_object(tag: str, content: Any) -> Any:
    raise wire.WireError("no object")


def through(value: Any, limits: wire.WireLimits | None = None) -> Any:
    """Send a value through a real socket and read it again."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        encoder = wire.Encoder(no_reference, limits)
        node = encoder.encode(value)
        sender = wire.Channel(ours, limits)
        thread = threading.Thread(target=sender.send, args=({"v": node}, encoder.tensors))
        thread.start()
        message, tensors = wire.Channel(theirs, limits).receive()
        thread.join()
    return wire.Decoder(tensors, no_object, limits).decode(message["v"])


def receive_bytes(data: bytes, limits: wire.WireLimits | None = None) -> Any:
    """Let raw bytes arrive, and the sender go away."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with ours, contextlib.suppress(OSError):
            ours.sendall(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        with theirs:
            message, tensors = wire.Channel(theirs, limits).receive()
        return wire.Decoder(tensors, no_object, limits).decode(message.get("v"))
    finally:
        thread.join()


def frame(text: bytes, image: bytes = b"") -> bytes:
    return wire.LENGTHS.pack(len(text), len(image)) + text + image


def image(header: Any, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if isinstance(one, list | tuple):
        return (
            type(one) is type(other)
            and len(one) == len(other)
            and all(same(a, b) for a, b in zip(one, other, strict=True))
        )
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return type(one) is type(other) and one == other


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**4000), 2**4000)
    | st.floats()
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=3).map(set)
    ),
    max_leaves=20,
)


@given(values)
@settings(deadline=None, max_examples=150)
def test_plain_values_arrive_as_they_were_sent(value):
    assert same(through(value), value)


@pytest.mark.parametrize("dtype", [getattr(torch, name) for name in wire.CODES], ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 5)])
def test_tensors_of_every_dtype_and_shape_arrive_bit_for_bit(dtype, shape):
    raw = torch.randint(0, 256, (*shape, dtype.itemsize), dtype=torch.uint8)
    tensor = (raw[..., 0] > 127) if dtype is torch.bool else raw.view(dtype).reshape(shape)
    got = through({"x": tensor})["x"]
    assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
    bits = [torch.view_as_real(t) if t.is_complex() else t for t in (got, tensor)]
    assert bits[0].reshape(-1).view(torch.uint8).equal(bits[1].reshape(-1).view(torch.uint8))


def test_many_tensors_of_mixed_dtypes_keep_their_places():
    dtypes = [torch.bool, torch.float64, torch.bfloat16, torch.int8, torch.float32]
    sent = [torch.arange(n + 1).to(dtypes[n % 5]) for n in range(20)]
    assert all(a.equal(b) for a, b in zip(through(sent), sent, strict=True))


def test_views_arrive_as_what_they_show():
    base = torch.arange(12.0).reshape(3, 4)
    for view in (base.t(), base[::2, 1:], base.flip(0), base[:, :1].expand(3, 50)):
        assert through(view).equal(view)
    z = torch.tensor([1 + 2j, 3 - 1j])
    assert through(z.conj()).equal(z.conj().resolve_conj())
    assert through(torch.nn.Parameter(base)).requires_grad is False


@pytest.mark.parametrize("dtype", ["?", "i1", "<i8", ">f4", "f2", "f8", "u2", "c8"])
def test_numpy_arrays_and_scalars_stay_numpy(dtype):
    array = np.arange(6).astype(dtype).reshape(2, 3)[:, ::-1]
    got, scalar = through([array, array[1, 1]])
    assert isinstance(got, np.ndarray)
    assert got.dtype == array.dtype.newbyteorder("=")
    assert (got == array).all()
    assert isinstance(scalar, np.generic)
    assert scalar == array[1, 1]


def test_the_image_is_what_safetensors_reads_and_reads_what_it_writes():
    tensors = [torch.randn(3, 2), torch.arange(4, dtype=torch.int8), torch.zeros(0)]
    encoder = wire.Encoder(no_reference)
    nodes = encoder.encode(tensors)
    head, buffers = wire._image(encoder.tensors)
    read = safetensors.torch.load(head + b"".join(buffers))
    assert all(read[str(n)].equal(tensor) for n, tensor in enumerate(tensors))
    written = safetensors.torch.save({str(n): tensor for n, tensor in enumerate(tensors)})
    numbers = wire._tensors(memoryview(bytearray(written)), wire.WireLimits())
    got = wire.Decoder(numbers, no_object).decode(nodes)
    assert all(a.equal(b) for a, b in zip(got, tensors, strict=True))


class Loud(str):
    def __str__(self):
        return "plain"


class LyingTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError("asked a liar")


def test_subclasses_are_sent_as_what_is_beneath():
    assert type(through(Loud("x"))) is str
    tensor = torch.ones(2).as_subclass(LyingTensor)
    got = through([tensor])[0]
    assert type(got) is torch.Tensor
    assert got.equal(torch.ones(2))
    assert type(through(np.ma.array([1, 2]))) is np.ndarray


UNSENDABLE = {
    "sparse": (lambda: torch.eye(2).to_sparse(), "sparse"),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "quantised",
    ),
    "meta": (lambda: torch.empty(2, device="meta"), "meta"),
    "dtype": (lambda: torch.zeros(2, dtype=torch.complex128), "complex128"),
    "expanded": (lambda: torch.ones(1).expand(10**10), "larger than the limit"),
    "broadcast": (lambda: np.broadcast_to(np.ones(1), (10**10,)), "larger than the limit"),
    "text array": (lambda: np.array(["a"]), "cannot be sent"),
    "object array": (lambda: np.array([object()]), "cannot be sent"),
    "digits": (lambda: 10**1_000_000, "larger than the limit"),
    "count": (lambda: [0] * 300_000, "more than"),
    "object": (object, "no data"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", UNSENDABLE)
def test_what_cannot_be_sent_is_refused_with_a_reason(name):
    make, reason = UNSENDABLE[name]
    with pytest.raises(wire.WireError, match=reason):
        through(make())


def test_a_list_that_holds_itself_is_refused():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(wire.WireError, match="deeper"):
        through(value)


HOSTILE_FRAMES = {
    "nothing": b"",
    "half a length": b"\0\0",
    "more than announced": frame(b'{"v":1}')[:-2],
    "a petabyte of JSON": wire.LENGTHS.pack(2**32 - 1, 0),
    "an exabyte of tensors": wire.LENGTHS.pack(7, 2**60) + b'{"v":1}',
    "no JSON": frame(b"\xff\xfe"),
    "not an object": frame(b"[1]"),
    "deep JSON": frame(b'{"v":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep values": frame(b'{"v":' + b"[" * 100 + b"]" * 100 + b"}"),
    "NaN as JSON": frame(b'{"v":NaN}'),
    "a million digits": frame(b'{"v":' + b"9" * 1_000_000 + b"}"),
    "long hex": frame(json.dumps({"v": {"int": "f" * 100_000}}).encode()),
    "unknown tag": frame(b'{"v":{"pickle":"gASVAAAAAAAA"}}'),
    "two tags": frame(b'{"v":{"int":"1","float":"nan"}}'),
    "bad float": frame(b'{"v":{"float":"__import__"}}'),
    "a tensor that is not there": frame(b'{"v":{"tensor":0}}'),
    "a negative index": frame(b'{"v":{"tensor":-1}}', image({}, b"")),
    "a boolean index": frame(b'{"v":{"tensor":true}}'),
    "unhashable in a set": frame(b'{"v":{"set":[[1]]}}'),
    "unhashable key": frame(b'{"v":{"dict":[[[1],2]]}}'),
    "pair of three": frame(b'{"v":{"dict":[[1,2,3]]}}'),
    "a forged callback": frame(b'{"v":{"callback":1}}'),
    "header too long": frame(b'{"v":1}', struct.pack("<Q", 1 << 40) + b"x" * 8),
    "header of wrong type": frame(b'{"v":1}', image([1, 2])),
    "unknown dtype": frame(
        b'{"v":1}',
        image({"0": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
    ),
    "huge shape": frame(
        b'{"v":1}',
        image({"0": {"dtype": "F32", "shape": [2**62, 4, 0], "data_offsets": [0, 0]}}, b""),
    ),
    "negative shape": frame(
        b'{"v":1}',
        image({"0": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, bytes(4)),
    ),
    "shape and bytes differ": frame(
        b'{"v":1}', image({"0": {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}}, bytes(4))
    ),
    "offsets beyond": frame(
        b'{"v":1}', image({"0": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}, bytes(4))
    ),
    "overlapping": frame(
        b'{"v":1}',
        image(
            {
                "0": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "1": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
            },
            bytes(4),
        ),
    ),
    "missing index": frame(
        b'{"v":1}', image({"1": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, bytes(4))
    ),
    "float shape": frame(
        b'{"v":1}', image({"0": {"dtype": "U8", "shape": [4.0], "data_offsets": [0, 4]}}, bytes(4))
    ),
    "sixty dimensions": frame(
        b'{"v":1}',
        image({"0": {"dtype": "U8", "shape": [1] * 60, "data_offsets": [0, 1]}}, bytes(1)),
    ),
}


@pytest.mark.parametrize("name", HOSTILE_FRAMES)
def test_a_hostile_frame_raises_one_of_two_errors(name):
    with pytest.raises((wire.WireError, wire.Closed)):
        receive_bytes(HOSTILE_FRAMES[name])


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(deadline=None, max_examples=300)
def test_no_random_bytes_raise_anything_else(text, blob):
    for data in (text, frame(text, blob), frame(b'{"v":{"tensor":0}}', image({}, b"") + blob)):
        try:
            receive_bytes(data)
        except (wire.WireError, wire.Closed):
            continue


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_no_random_header_raises_anything_else(data):
    numbers = st.integers(-2, 2**70) | st.floats() | st.none() | st.booleans()
    entry = st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from([*wire.DTYPES, "X"]) | numbers,
            "shape": st.lists(numbers, max_size=4) | numbers,
            "data_offsets": st.lists(numbers, max_size=3) | numbers,
        },
    )
    header = data.draw(st.dictionaries(st.sampled_from("01x"), entry | numbers, max_size=3))
    try:
        receive_bytes(
            frame(b'{"v":{"tensor":0}}', image(header, data.draw(st.binary(max_size=16))))
        )
    except (wire.WireError, wire.Closed):
        return


def test_lone_surrogates_are_replaced():
    assert receive_bytes(frame(b'{"v":"a\\ud800"}')) == "a?"


def test_a_frame_larger_than_the_limit_is_not_sent():
    limits = wire.WireLimits(tensor_bytes=1000)
    with pytest.raises(wire.WireError, match="larger"):
        through(torch.zeros(1000), limits)
