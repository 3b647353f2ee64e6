"""Frames between the trusted process and the student's: JSON and safetensors, never pickle.

A frame is two lengths, a JSON text, and one safetensors image (its header, then the raw numbers).
Nothing in it is code, and a reader takes nothing on trust: sizes are checked before memory is
taken, shapes against bytes, depth and number of values against limits. The safetensors image is
written from and read into memory in place: copying 32 MB costs more than sending it. PyTorch is
imported where the first tensor comes or goes, and not before: a course may do without.

Values that JSON has no word for are dicts of one key, so every real dict is written as one too:
{"tensor": i} {"array": i} {"scalar": i} {"int": hex} {"float": "nan"} {"complex": [re, im]}
{"tuple": [...]} {"set": [...]} {"dict": [[key, value], ...]} {"handle": [id, type]} {"callback": id}
"""

from __future__ import annotations

import json
import math
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    import torch

LENGTHS = struct.Struct(">IQ")
DTYPES = {  # safetensors' word for each: PyTorch's, which is NumPy's too, and bytes an element
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "I16": ("int16", 2),
    "U16": ("uint16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),  # NumPy has none
    "I32": ("int32", 4),
    "U32": ("uint32", 4),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "I64": ("int64", 8),
    "U64": ("uint64", 8),
    "C64": ("complex64", 8),
}
CODES = {name: code for code, (name, _) in DTYPES.items()}
SAFE_INT = 2**53
MAX_INT_BITS = 4096


class WireError(ValueError):
    """A value that cannot be sent, or a frame that no honest peer sends."""


@dataclass(frozen=True)
class WireLimits:
    """How much of a frame is believed: bytes of JSON and of tensors, depth, number of values.

    hashed: members of sets and keys of dicts that are no text. Numbers can be chosen to share one
    hash, and then the time to put them into a set grows with the square of how many there are.
    """

    json_bytes: int = 8 << 20
    tensor_bytes: int = 256 << 20
    depth: int = 32
    values: int = 200_000
    hashed: int = 5_000
    dimensions: int = 16


@dataclass(frozen=True)
class Numbers:
    """What a tensor or an array is made of. code: a key of DTYPES; data: its memory, row by row."""

    code: str
    shape: tuple[int, ...]
    data: memoryview


class Closed(ConnectionError):
    """The other end has gone."""


class Channel:
    """Whole frames over a stream socket.

    `look` is called about every `tick` seconds of sending and receiving, whether or not anything
    moves (a peer may send one byte at a time, for ever); it ends the wait by raising.
    """

    def __init__(
        self,
        sock: socket.socket,
        limits: WireLimits | None = None,
        look: Callable[[], None] | None = None,
        tick: float = 0.2,
    ) -> None:
        self.socket = sock
        self.limits = limits or WireLimits()
        self._look = look
        self._tick = tick
        self._next_look = time.monotonic() + tick
        sock.settimeout(tick if look else None)

    def send(self, message: dict[str, Any], tensors: list[Numbers] | None = None) -> None:
        """Send one frame; raises Closed, WireError when it is larger than the limits."""
        text = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
        head, buffers = _image(tensors or [])
        size = len(head) + sum(len(buffer) for buffer in buffers)
        if len(text) > self.limits.json_bytes or size > self.limits.tensor_bytes:
            raise WireError(f"A message of {len(text) + size} bytes is larger than the limit.")
        self._write(memoryview(LENGTHS.pack(len(text), size) + text + head))
        for buffer in buffers:
            self._write(buffer)

    def receive(self) -> tuple[dict[str, Any], list[Numbers]]:
        """Read one frame; raises Closed, WireError."""
        text_bytes, image_bytes = LENGTHS.unpack(self._read(LENGTHS.size))
        if text_bytes > self.limits.json_bytes or image_bytes > self.limits.tensor_bytes:
            raise WireError(
                f"A frame of {text_bytes + image_bytes} bytes is larger than the limit."
            )
        text, image = self._read(text_bytes), self._read(image_bytes)
        try:
            message = json.loads(bytes(text), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise WireError("A frame is not JSON.") from error
        if not isinstance(message, dict):
            raise WireError("A frame is not a JSON object.")
        return message, _tensors(image, self.limits) if image_bytes else []

    def _write(self, buffer: memoryview) -> None:
        sent = 0
        while sent < len(buffer):
            self._maybe_look()
            try:
                sent += self.socket.send(buffer[sent:], socket.MSG_NOSIGNAL)
            except TimeoutError:
                continue
            except OSError as error:
                raise Closed("The other end has gone.") from error

    def _read(self, size: int) -> memoryview:
        # numpy's empty memory is not zeroed first, unlike a bytearray's.
        buffer = memoryview(cast(Any, np.empty(size, dtype=np.uint8)))
        got = 0
        while got < size:
            self._maybe_look()
            try:
                more = self.socket.recv_into(buffer[got:])
            except TimeoutError:
                continue
            except OSError as error:
                raise Closed("The other end has gone.") from error
            if more == 0:
                raise Closed("The other end has gone.")
            got += more
        return buffer

    def _maybe_look(self) -> None:
        if self._look is not None and time.monotonic() > self._next_look:
            self._look()
            self._next_look = time.monotonic() + self._tick

    def start_waiting(self) -> None:
        """The next look is a whole tick away: short exchanges need none."""
        self._next_look = time.monotonic() + self._tick


class Encoder:
    """Turns values into JSON and a list of tensors; what is no data goes to `reference`.

    `reference(value)` returns a {"handle"} or {"callback"} node, or raises WireError.
    """

    def __init__(
        self, reference: Callable[[Any], dict[str, Any]], limits: WireLimits | None = None
    ) -> None:
        self.tensors: list[Numbers] = []
        self._reference = reference
        self._limits = limits or WireLimits()
        self._values = 0
        self._bytes = 0

    def encode(self, value: Any, depth: int = 0) -> Any:
        """The JSON node of `value`; raises WireError for what is too deep, too much or too large."""
        self._values += 1
        if depth > self._limits.depth:
            raise WireError(f"A value is nested deeper than {self._limits.depth} levels.")
        if self._values > self._limits.values:
            raise WireError(f"A value has more than {self._limits.values} parts.")
        if value is None or isinstance(value, bool):
            return value
        if _is_tensor(value):
            return {"tensor": self._tensor(value)}
        if isinstance(value, np.ndarray):
            return {"array": self._array(value)}
        if isinstance(value, np.generic) and not isinstance(value, np.str_ | np.bytes_):
            return {"scalar": self._array(np.asarray(value))}
        if isinstance(value, int):
            return _int_node(int(value))
        if isinstance(value, float):
            number = float(value)
            return number if math.isfinite(number) else {"float": repr(number)}
        if isinstance(value, complex):
            return {"complex": [self.encode(value.real, depth), self.encode(value.imag, depth)]}
        if isinstance(value, str):
            return str(value)
        return self._container(value, depth + 1)

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, tuple):
            return {"tuple": [self.encode(part, depth) for part in value]}
        if isinstance(value, list):
            return [self.encode(part, depth) for part in value]
        if isinstance(value, set | frozenset):
            return {"set": [self.encode(part, depth) for part in value]}
        if isinstance(value, dict):
            items = value.items()
            return {"dict": [[self.encode(k, depth), self.encode(v, depth)] for k, v in items]}
        return self._reference(value)

    def _tensor(self, tensor: torch.Tensor) -> int:
        import torch

        # A subclass could answer every question as it likes; this asks the tensor beneath.
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
                raise WireError("A sparse, quantised or nested tensor cannot be sent.")
            if tensor.device.type == "meta":
                raise WireError("A tensor on the meta device has no values to send.")
            code = CODES.get(str(tensor.dtype).removeprefix("torch."))
            if code is None:
                raise WireError(f"A tensor of {tensor.dtype} cannot be sent.")
            # Counted before it is made contiguous: an expanded view may be far larger than it is.
            self._count(tensor.numel() * tensor.element_size())
            plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
            return self._add(code, tuple(plain.shape), _bytes_of(plain.as_subclass(torch.Tensor)))

    def _array(self, array: np.ndarray) -> int:
        code = CODES.get(array.dtype.name)
        if code is None:
            raise WireError(f"An array of {array.dtype} cannot be sent.")
        self._count(array.size * array.dtype.itemsize)
        native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", subok=False)
        data = memoryview(cast(Any, native.reshape(-1).view(np.uint8))) if native.size else b""
        return self._add(code, native.shape, memoryview(data))

    def _add(self, code: str, shape: tuple[int, ...], data: memoryview) -> int:
        self.tensors.append(Numbers(code, shape, data))
        return len(self.tensors) - 1

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.tensor_bytes:
            raise WireError(f"Tensors of {self._bytes} bytes are larger than the limit.")


class Decoder:
    """Turns JSON and tensors back into values; `dereference` makes objects of handles and callbacks."""

    def __init__(
        self,
        tensors: list[Numbers],
        dereference: Callable[[str, Any], Any],
        limits: WireLimits | None = None,
    ) -> None:
        self._numbers = tensors
        self._made: dict[tuple[bool, int], Any] = {}  # what is named twice is one object
        self._dereference = dereference
        self._limits = limits or WireLimits()
        self._values = 0
        self._hashed = 0

    def decode(self, node: Any, depth: int = 0) -> Any:
        """The value of a node; raises WireError for anything that `Encoder` does not write."""
        self._values += 1
        if depth > self._limits.depth or self._values > self._limits.values:
            raise WireError("A value is nested too deeply or has too many parts.")
        if node is None or isinstance(node, bool | float):
            return node
        if isinstance(node, int):
            if abs(node) > SAFE_INT:
                raise WireError("A whole number is too large for JSON.")
            return node
        if isinstance(node, str):
            return node.encode("utf-8", "replace").decode()  # lone surrogates cannot be stored
        if isinstance(node, list):
            return [self.decode(part, depth + 1) for part in node]
        if not isinstance(node, dict) or len(node) != 1:
            raise WireError("A value of unknown form.")
        ((tag, content),) = node.items()
        try:
            return self._tagged(tag, content, depth + 1)
        except WireError:
            raise
        except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
            raise WireError(f"A malformed value: {type(error).__name__}.") from error

    def _tagged(self, tag: str, content: Any, depth: int) -> Any:
        if tag in ("tensor", "array", "scalar"):
            if type(content) is not int or not 0 <= content < len(self._numbers):
                raise WireError("A tensor that is not in the frame.")
            key = (tag == "tensor", content)
            if key not in self._made:
                make = _as_tensor if tag == "tensor" else _as_array
                self._made[key] = make(self._numbers[content])
            return self._made[key].reshape(())[()] if tag == "scalar" else self._made[key]
        if tag == "int":
            if not isinstance(content, str) or len(content) > MAX_INT_BITS // 4 + 3:
                raise WireError("A whole number of too many digits.")
            return int(content, 16)
        if tag == "float" and content in ("nan", "inf", "-inf"):
            return float(content)
        if tag == "complex":
            real, imaginary = (self.decode(part, depth) for part in content)
            return complex(float(real), float(imaginary))
        if tag == "tuple" and isinstance(content, list):
            return tuple(self.decode(part, depth) for part in content)
        if tag == "set" and isinstance(content, list):
            return {self._hashable(part, depth) for part in content}
        if tag == "dict" and isinstance(content, list):
            return {self._hashable(k, depth): self.decode(v, depth) for k, v in content}
        if tag in ("handle", "callback"):
            return self._dereference(tag, content)
        raise WireError("A value of unknown form.")

    def _hashable(self, node: Any, depth: int) -> Any:
        value = self.decode(node, depth)
        if not isinstance(value, str):
            self._hashed += 1
            if self._hashed > self._limits.hashed:
                raise WireError("A value has too many keys that are no text.")
        return value


def _int_node(value: int) -> Any:
    if abs(value) <= SAFE_INT:
        return value
    if value.bit_length() > MAX_INT_BITS:
        raise WireError(f"A whole number of {value.bit_length()} bits is larger than the limit.")
    return {"int": hex(value)}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_tensor(value: Any) -> bool:
    """Whether it is one of PyTorch's; where PyTorch was never imported, nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _image(tensors: list[Numbers]) -> tuple[bytes, list[memoryview]]:
    """A safetensors image: its header, and the tensors' own memory, largest elements first.

    In that order every tensor starts at a multiple of its element size, without gaps.
    """
    if not tensors:
        return b"", []
    header: dict[str, Any] = {}
    buffers = []
    offset = 0
    for index in sorted(range(len(tensors)), key=lambda i: -DTYPES[tensors[i].code][1]):
        one = tensors[index]
        header[str(index)] = {
            "dtype": one.code,
            "shape": list(one.shape),
            "data_offsets": [offset, offset + len(one.data)],
        }
        buffers.append(one.data)
        offset += len(one.data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, buffers


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    if tensor.numel() == 0:
        return memoryview(b"")
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return memoryview(cast(Any, tensor.reshape(-1).view(torch.uint8).numpy()))


def _tensors(image: memoryview, limits: WireLimits) -> list[Numbers]:
    """Tensors on the memory of a safetensors image, which is checked to describe exactly itself."""
    try:
        (head_bytes,) = struct.unpack("<Q", image[:8])
        if head_bytes > min(limits.json_bytes, len(image) - 8):
            raise WireError("A tensor header is longer than its frame.")
        header = json.loads(bytes(image[8 : 8 + head_bytes]), parse_constant=_no_constant)
        data = image[8 + head_bytes :]
        if (
            8 + head_bytes != len(image) - len(data)
            or head_bytes % 8
            or len(header) > limits.values
        ):
            raise WireError("A malformed tensor header.")
        placed = [_place(header[str(index)], limits) for index in range(len(header))]
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
        raise WireError("A malformed tensor header.") from error
    end = 0
    for _, _, start, stop in sorted(placed, key=lambda one: (one[2], one[3])):
        if start != end:
            raise WireError("Tensors overlap or leave gaps.")
        end = stop
    if end != len(data):
        raise WireError("Tensors do not fill their frame.")
    return [Numbers(code, shape, data[start:stop]) for code, shape, start, stop in placed]


def _place(entry: Any, limits: WireLimits) -> tuple[str, tuple[int, ...], int, int]:
    """One tensor's dtype, shape and place in the data, checked against one another."""
    code, shape = entry["dtype"], entry["shape"]
    _, bytes_each = DTYPES[code]
    start, stop = entry["data_offsets"]
    sizes = [*shape, start, stop]
    if len(shape) > limits.dimensions or any(type(n) is not int or n < 0 for n in sizes):
        raise WireError("A malformed tensor shape.")
    # An empty tensor may still have strides that overflow.
    if any(n > 1 << 40 for n in sizes) or math.prod(max(n, 1) for n in shape) > 1 << 48:
        raise WireError("A tensor shape is too large.")
    if math.prod(shape) * bytes_each != stop - start or (stop > start and start % bytes_each):
        raise WireError("A tensor's bytes do not fit its shape.")
    return code, tuple(shape), start, stop


def _as_tensor(numbers: Numbers) -> torch.Tensor:
    import torch

    dtype = getattr(torch, DTYPES[numbers.code][0])
    if not len(numbers.data):
        return torch.empty(numbers.shape, dtype=dtype)
    return torch.frombuffer(numbers.data, dtype=dtype).reshape(numbers.shape)


def _as_array(numbers: Numbers) -> np.ndarray:
    name = DTYPES[numbers.code][0]
    if name == "bfloat16":
        raise WireError("NumPy has no bfloat16.")
    if not len(numbers.data):
        return np.empty(numbers.shape, dtype=name)
    return np.frombuffer(numbers.data, dtype=name).reshape(numbers.shape)
