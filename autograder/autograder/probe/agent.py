"""The probe's end in the student's process: takes handles, then serves calls until told to stop.

Loaded into the zygote, so it is there before any of the student's code; still nothing that it says
is believed (`client.py` checks all of it). It keeps the student's functions as they were right after
their cells, calls them with the inputs that come in, and sends back data, or a handle for what is
no data.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import socket
from collections.abc import Callable
from typing import Any

from . import wire

MODULE = __name__  # how `client.py` names this module in the code that it has executed


class Agent:
    """State of one student process."""

    def __init__(self) -> None:
        self.prepared: dict[str, Any] = {}  # objects the grader made before the fork: the model
        self.named: dict[str, Any] = {}  # graded functions, by name
        self.objects: dict[int, Any] = {}  # results that are no data, by number
        self.channel: wire.Channel | None = None
        self._numbers = 0

    def serve(self) -> None:
        """Answer calls until the grader closes its end; then, or on any error, close ours."""
        assert self.channel is not None
        try:
            while True:
                message, tensors = self.channel.receive()
                self.handle(message, tensors)
        except wire.Closed:
            return
        finally:
            self.channel.socket.close()

    def handle(self, message: dict[str, Any], tensors: list[Any]) -> None:
        """Do what one request asks: call something, or forget the results so far."""
        if message["op"] == "release":
            self.objects.clear()
        elif message["op"] == "call":
            self.call(message, tensors)

    def call(self, message: dict[str, Any], tensors: list[Any]) -> None:
        """Call a function and send its result, or its exception's type and line, never its text."""
        function: Any = None
        number = message["id"]
        try:
            decoder = wire.Decoder(tensors, self.dereference)
            function = decoder.decode(message["function"])
            args = decoder.decode(message["args"])
            kwargs = decoder.decode(message["kwargs"])
            result = function(*args, **kwargs)
            encoder = wire.Encoder(self.reference)
            reply = {"id": number, "ok": encoder.encode(result)}
            if message["keep"]:
                reply["args"] = encoder.encode(args)
            self.channel.send(reply, encoder.tensors)  # type: ignore[union-attr]
        except wire.Closed:
            raise
        except BaseException as error:  # SystemExit and KeyboardInterrupt are the student's too
            # A failed call says where; what it says beside that could carry inputs, and is not sent.
            problem = {"type": type(error).__name__, "line": line_of(error, function)}
            if isinstance(error, wire.WireError):
                problem["unsendable"] = str(error)[:200]
            self.channel.send({"id": number, "error": problem})  # type: ignore[union-attr]

    def callback(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have a function of the grader's called there; answers nested calls meanwhile."""
        assert self.channel is not None
        encoder = wire.Encoder(self.reference)
        request = {"callback": number, "args": encoder.encode(args)}
        request["kwargs"] = encoder.encode(kwargs)
        self.channel.send(request, encoder.tensors)
        while True:
            message, tensors = self.channel.receive()
            if message["op"] == "return":
                return wire.Decoder(tensors, self.dereference).decode(message["value"])
            if message["op"] == "raise":
                raise RuntimeError("the function that was passed in failed")
            self.handle(message, tensors)

    def reference(self, value: Any) -> dict[str, Any]:
        """A handle for a value that is no data."""
        self._numbers += 1
        self.objects[self._numbers] = value
        return {"handle": [self._numbers, type(value).__name__[:40]]}

    def dereference(self, tag: str, content: Any) -> Any:
        """The object behind a handle, or a function that calls back to the grader."""
        if tag == "callback":
            number = int(content)

            def passed_in(*args: Any, **kwargs: Any) -> Any:
                return self.callback(number, args, kwargs)

            return passed_in
        key = content[0]
        if isinstance(key, int):
            return self.objects[key]
        if key in self.prepared:
            return self.prepared[key]
        if key in self.named:
            return self.named[key]
        if ":" in key:
            module, _, name = key.partition(":")
            return getattr(importlib.import_module(module), name)
        raise NameError(key)


_agent = Agent()


def prepare(objects: dict[str, Any]) -> None:
    """In the zygote: keep objects that the grader hands to students' functions (`student.model`)."""
    _agent.prepared.update(objects)


def attach(descriptor: int) -> None:
    """In a new kernel: take the data socket."""
    _agent.channel = wire.Channel(socket.socket(fileno=descriptor))


def take(name: str, namespace: dict[str, Any]) -> None:
    """Right after an answer cell: keep what `name` is now; a name that is not there is forgotten."""
    if name in namespace:
        _agent.named[name] = namespace[name]
    else:
        _agent.named.pop(name, None)


def serve() -> None:
    """Serve the probe phase; runs as one execute request."""
    _agent.serve()


def line_of(error: BaseException, function: Any) -> int | None:
    """The innermost line, counted within its cell, at which the called function's own cell stood.

    IPython compiles each cell under a file name of its own, with lines counted from the cell's
    first, so the frames that matter are those of the same file as the function.
    """
    filename = _filename(function)
    line = None
    trace = error.__traceback__
    while trace is not None:
        if filename is not None and trace.tb_frame.f_code.co_filename == filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _filename(function: Any) -> str | None:
    try:
        while isinstance(function, functools.partial):
            function = function.func
        unwrapped: Callable[..., Any] = inspect.unwrap(function)
        code = getattr(unwrapped, "__code__", None) or type(unwrapped).__call__.__code__
        return code.co_filename
    except Exception:
        return None
