"""The trusted end of the probe: call a student's function from outside and believe nothing.

    student = Student(control, data_socket)
    student.mean_difference(positive, negative)

Values travel as JSON and safetensors (`wire.py`). Every reply is checked; anything that no honest
agent sends ends the student's process, as running out of time does. Nothing that comes back is
executed, unpickled or quoted: an exception arrives as one of a fixed list of names and a number.
"""

from __future__ import annotations

import builtins
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..sandbox.control import ExitInfo, KernelControl
from . import agent, wire

INSIDE_AGENT = "confined.probe.agent"
CUSTOM_EXCEPTION = "custom exception"
KNOWN_EXCEPTIONS = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
) | {"WithheldError"}
PREPARED = frozenset({"model"})
MAX_LINE = 100_000
NESTED_CALLS = 16


class StudentError(AssertionError):
    """A call failed on the student's side; the test that made it fails.

    type_name: a builtin exception's name, "WithheldError", "custom exception", or "" when no
    exception was raised (a result that cannot be sent).
    line: 1-based line within the function's cell, or None; `source_line` looks it up there.
    """

    def __init__(self, message: str, type_name: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.line = line


class StudentDead(StudentError):
    """The student's process is gone, or was ended: nothing more can be asked of it.

    reason: "cpu time", "wall time", "memory", "crashed", "exited", "garbage" (it broke the
    protocol), "closed" (it left the serving loop), or "lost" (the sandbox's own failure: the test
    says nothing about the student).
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class CallLimits:
    """Seconds that one call may take, and how much it may answer.

    all_seconds: wall time of all calls together, from when the student's process is first asked.
    Time in which it wanted a processor and others had it is not held against it.
    """

    cpu_seconds: float = 10.0
    wall_seconds: float = 60.0
    all_seconds: float = float("inf")
    wire: wire.WireLimits = field(default_factory=wire.WireLimits)


class Handle:
    """Something in the student's process that is no data; call it, or pass it as an argument."""

    def __init__(self, student: Student, key: int | str, type_name: str) -> None:
        self._student = student
        self._key = key
        self.type_name = type_name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._student._call(self, args, kwargs)[0]

    def call_keeping(self, *args: Any, **kwargs: Any) -> tuple[Any, tuple[Any, ...]]:
        """Call it; returns its result and its arguments as they are there afterwards."""
        return self._student._call(self, args, kwargs, keep=True)

    def __repr__(self) -> str:
        return f"<a {self.type_name} in the student's process>"


class Student:
    """The student's functions, by name; `student.model` is the embedded model in their process.

    A Python function passed as an argument is called back here: from the student's process, in this
    one, with data and handles. Raises StudentError and StudentDead from every call.
    """

    def __init__(
        self, control: KernelControl, data_socket: socket.socket, limits: CallLimits | None = None
    ) -> None:
        self._control = control
        self._limits = limits or CallLimits()
        self._channel = wire.Channel(data_socket, self._limits.wire, self._check_time)
        self._callbacks: dict[int, Callable[..., Any]] = {}
        self._calls = 0
        self._depth = 0
        self._clock = _Clock()
        self._started = time.monotonic()
        self._delay = 0.0  # as last heard from its monitor
        self._first_delay: float | None = None
        self._delay_before = 0.0  # this call
        self._dead: StudentDead | None = None

    @property
    def dead(self) -> StudentDead | None:
        """Why nothing more can be asked, or None."""
        return self._dead

    def __getattr__(self, name: str) -> Handle:
        if name.startswith("_"):
            raise AttributeError(name)
        return Handle(self, name, "model" if name in PREPARED else "function")

    def library(self, name: str) -> Handle:
        """A function of the library as it is in the student's process, "steerlab.module:function".

        For what shows only there: gradients, memory that tensors share. What it says is worth no
        more than what the student's own functions say.
        """
        return Handle(self, name, "function")

    def call_keeping(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, tuple[Any, ...]]:
        """Call a function; returns its result and its arguments as they are there afterwards."""
        return self._call(Handle(self, name, "function"), args, kwargs, keep=True)

    def release(self) -> None:
        """Forget all handles and callbacks of the calls so far, on both sides."""
        self._callbacks.clear()
        if self._dead is None:
            self._guarded(lambda: self._channel.send({"op": "release"}))

    def _call(
        self, function: Handle, args: tuple[Any, ...], kwargs: dict[str, Any], keep: bool = False
    ) -> tuple[Any, tuple[Any, ...]]:
        if self._dead is not None:
            raise StudentDead(str(self._dead), self._dead.reason)
        if self._depth >= NESTED_CALLS:
            raise StudentError("calls and callbacks are nested too deeply", "RecursionError")
        encoder = wire.Encoder(self._reference, self._limits.wire)
        self._calls += 1
        request = {
            "op": "call",
            "id": self._calls,
            "function": self._reference(function),
            "args": encoder.encode(args),
            "kwargs": encoder.encode(kwargs),
            "keep": keep,
        }
        return self._guarded(lambda: self._exchange(request, encoder.tensors))

    def _exchange(
        self, request: dict[str, Any], tensors: list[wire.Numbers]
    ) -> tuple[Any, tuple[Any, ...]]:
        """Send a call, serve its callbacks, read its answer."""
        failed: BaseException | None = None
        if self._depth == 0:
            self._check_all_time()
            self._clock = _Clock()
            self._delay_before = self._delay
            self._channel.start_waiting()
        self._depth += 1
        try:
            self._channel.send(request, tensors)
            while True:
                reply, tensors = self._channel.receive()
                if "callback" not in reply:
                    break
                failed = self._serve_callback(reply, tensors) or failed
        finally:
            self._depth -= 1
        if failed is not None:
            raise failed  # the test's own function failed, whatever the student made of it
        if reply.get("id") != request["id"]:
            raise wire.WireError("An answer to another question.")
        if "error" in reply:
            raise _student_error(reply["error"])
        decoder = wire.Decoder(tensors, self._dereference, self._limits.wire)
        result = decoder.decode(reply.get("ok"))
        kept = decoder.decode(reply["args"]) if request["keep"] and "args" in reply else ()
        if not isinstance(kept, tuple):
            raise wire.WireError("Arguments that are no tuple.")
        return result, kept

    def _serve_callback(
        self, reply: dict[str, Any], tensors: list[wire.Numbers]
    ) -> BaseException | None:
        """Run a function of the test's; its exception is kept for the test and not sent."""
        decoder = wire.Decoder(tensors, self._dereference, self._limits.wire)
        number = reply["callback"]
        if type(number) is not int or number not in self._callbacks:
            raise wire.WireError("A callback that was never passed.")
        args, kwargs = decoder.decode(reply.get("args")), decoder.decode(reply.get("kwargs"))
        if not isinstance(args, tuple) or not isinstance(kwargs, dict):
            raise wire.WireError("Malformed arguments of a callback.")
        if not all(isinstance(key, str) for key in kwargs):
            raise wire.WireError("Malformed arguments of a callback.")
        encoder = wire.Encoder(self._reference, self._limits.wire)
        try:
            with self._clock.paused():
                value = self._callbacks[number](*args, **kwargs)
            answer = {"op": "return", "value": encoder.encode(value)}
        except StudentDead:
            raise
        except wire.WireError as error:  # the test's own value, not the student's
            self._channel.send({"op": "raise"})
            return ValueError(f"A callback's result cannot be sent: {error}")
        except Exception as error:
            self._channel.send({"op": "raise"})
            return error
        self._channel.send(answer, encoder.tensors)
        return None

    def _guarded(self, exchange: Callable[[], Any]) -> Any:
        """Run an exchange; a broken stream or protocol ends the student's process for good."""
        try:
            return exchange()
        except StudentDead as dead:
            self._dead = dead
            self._control.kill()
            raise
        except (KeyboardInterrupt, SystemExit):
            # Half an exchange is on the stream: nothing that follows could be told apart.
            self._dead = StudentDead("the grading was interrupted", "lost")
            self._control.kill()
            raise
        except wire.Closed:
            problem = _how_it_ended(self._control.wait(1.0))
        except wire.WireError as error:
            problem = StudentDead(f"the function's process sent garbage ({error})", "garbage")
        self._dead = problem
        self._control.kill()
        raise problem from None

    def _check_time(self) -> None:
        """Called a few times a second while a call takes its time; raises StudentDead."""
        if (ended := self._control.poll()) is not None:
            raise _how_it_ended(ended)
        usage = self._control.usage()
        if usage is not None:
            self._note_delay(usage.delay_seconds)
        if self._clock.seconds() - (self._delay - self._delay_before) > self._limits.wall_seconds:
            limit = self._limits.wall_seconds
            raise StudentDead(f"no answer within {limit:g} seconds of waiting", "wall time")
        self._check_all_time()
        if usage is None:
            return
        # The first look is taken a moment after the start; the moment is the student's gain.
        self._clock.first_cpu = min(self._clock.first_cpu, usage.cpu_seconds)
        if usage.cpu_seconds - self._clock.first_cpu > self._limits.cpu_seconds:
            limit = self._limits.cpu_seconds
            raise StudentDead(f"no answer within {limit:g} seconds of computing", "cpu time")

    def _note_delay(self, seconds: float) -> None:
        """Keep the delay as the monitor told it; what came before the first call does not count."""
        if self._first_delay is None:
            self._first_delay = self._delay_before = seconds
        self._delay = max(self._delay, seconds)

    def _check_all_time(self) -> None:
        """Raise StudentDead when all calls together have taken too long."""
        delayed = self._delay - (self._first_delay or 0.0)
        if time.monotonic() - self._started - delayed > self._limits.all_seconds:
            raise StudentDead("the submission's time is used up", "wall time")

    def _reference(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Handle):
            if value._student is not self:
                raise TypeError("A handle belongs to another student's process.")
            return {"handle": [value._key, value.type_name]}
        if callable(value):
            number = len(self._callbacks) + 1
            self._callbacks[number] = value
            return {"callback": number}
        raise TypeError(
            f"A test passed a {type(value).__name__}, which is neither data nor handle."
        )

    def _dereference(self, tag: str, content: Any) -> Handle:
        if tag != "handle" or not isinstance(content, list) or len(content) != 2:
            raise wire.WireError("A malformed handle.")
        key, type_name = content
        if type(key) is not int or not isinstance(type_name, str):
            raise wire.WireError("A malformed handle.")
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", type_name)
        return Handle(self, key, type_name if plain else "object")


class _Clock:
    """Wall time of one call, without the time spent in the test's own callbacks."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._away = 0.0
        self._left: list[float] = []
        self.first_cpu = float("inf")

    def seconds(self) -> float:
        return time.monotonic() - self._started - self._away

    def paused(self) -> _Clock:
        return self

    def __enter__(self) -> None:
        self._left.append(time.monotonic())

    def __exit__(self, *_: object) -> None:
        self._away += time.monotonic() - self._left.pop()


def source_line(source: str, line: int | None) -> str | None:
    """The line of a submitted cell that a `StudentError.line` means, or None if there is none.

    IPython drops blank lines at the top of a cell before it counts.
    """
    lines = source.splitlines()
    while lines and not lines[0].strip():
        del lines[0]
    return lines[line - 1] if line is not None and 1 <= line <= len(lines) else None


def take_code(name: str) -> str:
    """Code to execute silently right after an answer cell: keeps the function `name` as it is now."""
    return f"__import__({INSIDE_AGENT!r}, fromlist=['take']).take({name!r}, globals())"


def serve_code() -> str:
    """Code to execute, without waiting for its reply, when all cells have run: serves the probe."""
    return f"__import__({INSIDE_AGENT!r}, fromlist=['serve']).serve()"


def start_student(client: Any, provisioner: Any, limits: CallLimits | None = None) -> Student:
    """Begin the probe phase on a kernel whose cells have run, and whose handles were taken.

    `client` is the kernel's jupyter client; from here on nothing that the kernel emits is read: its
    iopub channel is closed, so that it cannot fill this process's memory either.

    Raises: StudentDead if the kernel has gone.
    """
    if provisioner.control is None or provisioner.data_socket is None:
        raise _how_it_ended(provisioner.exit_info)
    client.execute(serve_code(), silent=True, store_history=False, allow_stdin=False)
    client.iopub_channel.stop()
    return Student(provisioner.control, provisioner.data_socket, limits)


def _student_error(problem: Any) -> StudentError:
    """A StudentError from an agent's report, of which only a known name and a number are kept."""
    if not isinstance(problem, dict):
        raise wire.WireError("A malformed error.")
    name, line = problem.get("type"), problem.get("line")
    name = name if isinstance(name, str) and name in KNOWN_EXCEPTIONS else CUSTOM_EXCEPTION
    if type(line) is not int or not 1 <= line <= MAX_LINE:
        line = None
    if "unsendable" in problem:
        return StudentError("it returned something that cannot be checked", "", line)
    if name == "NameError" and line is None:
        return StudentError("no function of this name was found after its cell", name)
    return StudentError(f"it raised {name}" + (f" at line {line}" if line else ""), name, line)


def _how_it_ended(ended: ExitInfo | None) -> StudentDead:
    why = ended.why if ended is not None else "closed"
    message, reason = {
        "cpu": ("the submission used up its computing time", "cpu time"),
        "memory": ("the submission used too much memory", "memory"),
        "signal": ("the function's process crashed", "crashed"),
        "exited": ("the function's process ended itself", "exited"),
        "closed": ("the function's process stopped answering", "closed"),
        "killed": ("the function's process was ended", "closed"),
    }.get(why, ("the sandbox went away", "lost"))
    return StudentDead(message, reason)


assert agent.MODULE.endswith("probe.agent")
