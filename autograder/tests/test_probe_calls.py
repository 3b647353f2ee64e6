"""Calling functions in a student's process: what honest ones give, and what hostile ones cannot take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from autograder.probe import CallLimits, Student, StudentDead, StudentError, source_line
from autograder.probe.client import CUSTOM_EXCEPTION
from autograder.probe.wire import WireLimits
from autograder.sandbox import Sandbox
from kernel_notebook import Notebook

HONEST = """

# graded: 01/echo
import functools
import torch

def echo(*args, **kwargs):
    return (args, kwargs) if kwargs else args[0]

def in_place(x, names):
    x += 1
    names.append("more")

def make_adder(n):
    return lambda x: x + n

def hooks():
    return [("blocks.0.hook_resid_pre", lambda resid, hook: resid * 2), ("b", 3)]

def apply(function, *args):
    return function(*args)

def fails(kind):
    if kind == "custom":
        class SecretInput1234(Exception):
            pass
        raise SecretInput1234("inputs")
    if kind == "deep":
        return torch.ones(2) @ torch.ones(3)
    raise {"value": ValueError, "exit": SystemExit, "interrupt": KeyboardInterrupt}[kind]("inputs")

@functools.lru_cache
def decorated(x):
    return 1 / x

def unsendable():
    return torch.ones(1).expand(10**12)

class Callable:
    def __call__(self, x):
        return undefined_name

instance = Callable()
partial = functools.partial(fails, "value")
"""
NAMES = ["echo", "in_place", "make_adder", "hooks", "apply", "fails", "decorated"]
NAMES += ["unsendable", "instance", "partial"]


@pytest.fixture(scope="module")
def student(sandbox: Sandbox) -> Iterator[Student]:
    """One honest student for the tests that leave them alive."""
    notebook = Notebook(sandbox)
    notebook.run(HONEST)
    notebook.take(*NAMES)
    notebook.run("def echo(x): return 'renamed later'")
    yield notebook.student()
    notebook.close()


@pytest.fixture
def hostile(notebook: Notebook) -> Callable[..., Student]:
    """A student whose cell is the test's own, with the functions it defines."""

    def begin(source: str, *names: str, **limits: Any) -> Student:
        cell = notebook.run("import os, sys, torch, signal, time, threading\n" + source)
        assert not cell.error
        notebook.take(*names)
        return notebook.student(CallLimits(**limits) if limits else None)

    return begin


def test_data_goes_in_and_comes_out(student):
    values: list[Any] = [
        1,
        2.5,
        None,
        "text",
        True,
        [1, (2, {"a": {3}})],
        torch.eye(3),
        np.arange(3),
    ]
    for value in values:
        got = student.echo(value)
        assert type(got) is type(value)
        assert (
            np.array_equal(got, value)
            if isinstance(value, torch.Tensor | np.ndarray)
            else got == value
        )
    assert student.echo(1, key=torch.ones(1)) == ((1,), {"key": torch.ones(1)})


def test_the_handle_is_what_the_name_meant_right_after_its_cell(student):
    assert student.echo("first") == "first"


def test_arguments_can_be_seen_as_the_call_left_them(student):
    sent = torch.zeros(2)
    result, (x, names) = student.call_keeping("in_place", sent, ["a"])
    assert result is None
    assert x.equal(torch.ones(2))
    assert names == ["a", "more"]
    assert sent.equal(torch.zeros(2))


def test_what_is_no_data_comes_as_a_handle_and_can_be_called_and_passed(student):
    adder = student.make_adder(3)
    assert adder.type_name == "function"
    assert adder(4) == 7
    assert student.apply(adder, 5) == 8
    (name, hook), rest = student.hooks()
    assert name == "blocks.0.hook_resid_pre"
    assert hook(torch.ones(2), None).equal(torch.full((2,), 2.0))
    assert rest == ("b", 3)


def test_the_model_in_the_students_process_can_be_passed(student):
    model = student.model
    tokens = torch.tensor([[0, 5, 6]])
    logits = student.apply(model, tokens)
    assert logits.shape[:2] == (1, 3)
    from steerlab.models import load_model

    assert torch.allclose(logits, load_model("tiny")(tokens), atol=1e-4)


def test_a_function_of_the_library_looks_at_the_students_from_inside(student):
    gradients = student.library("steerlab.checks.inside:gradients")
    (slope,) = gradients(student.echo, torch.tensor(3.0))
    assert float(slope) == 1.0
    with pytest.raises(StudentError, match="AttributeError"):
        student.library("steerlab.checks.inside:nothing")()


def test_a_function_of_the_tests_runs_here_and_may_call_back(student):
    seen = []

    def watch(x: Any) -> Any:
        seen.append(x)
        return student.echo(x * 2)  # a call within a callback within a call

    assert student.apply(watch, torch.ones(2)).equal(torch.full((2,), 2.0))
    assert seen[0].equal(torch.ones(2))


def test_a_failing_function_of_the_tests_fails_the_test_and_not_the_student(student):
    def broken(x: Any) -> Any:
        raise AssertionError("expectation in a callback")

    with pytest.raises(AssertionError, match="expectation in a callback"):
        student.apply(broken, 1)
    assert student.echo(1) == 1


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("value", "ValueError", "raise {"),
        ("exit", "SystemExit", "raise {"),
        ("interrupt", "KeyboardInterrupt", "raise {"),
        ("custom", CUSTOM_EXCEPTION, "raise SecretInput1234"),
        ("deep", "RuntimeError", "torch.ones(2) @ torch.ones(3)"),
    ],
)
def test_an_exception_arrives_as_a_known_name_and_the_students_own_line(student, kind, name, line):
    with pytest.raises(StudentError) as caught:
        student.fails(kind)
    assert caught.value.type_name == name
    assert line in str(source_line(HONEST, caught.value.line))
    assert "inputs" not in str(caught.value)
    assert "Secret" not in str(caught.value)
    assert student.echo(1) == 1


def test_lines_are_found_through_decorators_partials_and_callable_objects(student):
    for call, line in (
        (lambda: student.decorated(0), "return 1 / x"),
        (student.partial, "raise {"),
        (lambda: student.instance(1), "return undefined_name"),
    ):
        with pytest.raises(StudentError) as caught:
            call()
        assert line in str(source_line(HONEST, caught.value.line))


def test_a_name_that_is_not_there_is_the_students_error(student):
    with pytest.raises(StudentError, match="no function of this name"):
        student.never_defined(1)


def test_a_result_that_cannot_be_sent_is_the_students_error(student):
    with pytest.raises(StudentError, match="cannot be checked"):
        student.unsendable()
    assert student.echo(1) == 1


def test_what_a_test_cannot_pass_is_the_authors_error(student):
    with pytest.raises(TypeError, match="neither data nor handle"):
        student.echo(object())


def test_released_handles_are_gone(student):
    adder = student.make_adder(1)
    student.release()
    with pytest.raises(StudentError):
        adder(1)


def test_a_line_is_only_looked_up_where_there_is_one():
    assert source_line("\n\na\nb", 1) == "a"
    assert source_line("a", 2) is None
    assert source_line("a", None) is None


def test_an_endless_loop_is_ended_by_computing_time(hostile):
    student = hostile("def f():\n    while True: pass", "f", cpu_seconds=0.5)
    with pytest.raises(StudentDead) as caught:
        student.f()
    assert caught.value.reason == "cpu time"
    with pytest.raises(StudentDead):
        student.f()


def test_waiting_is_ended_by_wall_time(hostile):
    student = hostile("def f(): time.sleep(1000)", "f", wall_seconds=0.5)
    with pytest.raises(StudentDead) as caught:
        student.f()
    assert caught.value.reason == "wall time"


def test_time_in_the_tests_own_callback_is_not_the_students(hostile):
    import time

    def slow() -> int:
        time.sleep(0.8)
        return 5

    student = hostile("def f(g): return g()", "f", wall_seconds=0.4)
    assert student.f(slow) == 5


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os._exit(0)", "exited"),
        ("import ctypes; ctypes.string_at(0)", "crashed"),
        ("os.abort()", "crashed"),
        ("[os.close(n) for n in range(3, 64) if not closes(n)]", ""),
    ],
)
def test_a_process_that_ends_itself_costs_only_itself(hostile, body, reason):
    student = hostile(f"{CLOSES}def f(): {body}", "f", wall_seconds=5)
    with pytest.raises(StudentDead) as caught:
        student.f()
    assert caught.value.reason in ((reason,) if reason else ("closed", "crashed", "exited"))


CLOSES = """
def closes(n):
    try: os.close(n)
    except OSError: pass
    return True
"""
DATA_SOCKET = """
import json, struct
agent = sys.modules["confined.probe.agent"]._agent
sock = agent.channel.socket
def frame(message, image=b""):
    text = json.dumps(message).encode()
    return struct.pack(">IQ", len(text), len(image)) + text + image
"""


@pytest.mark.parametrize(
    "body",
    [
        "sock.sendall(b'garbage ' * 100)",
        "sock.sendall(b'\\xff' * 64)",
        "sock.sendall(struct.pack('>IQ', 2**32 - 1, 2**63))",
        "sock.sendall(frame([1]))",
        "sock.sendall(frame({'id': 999, 'ok': 1}))",
        "sock.sendall(frame({'id': 1}) + frame({'callback': 77, 'args': {'tuple': []}}))",
        "sock.sendall(frame({'callback': 77, 'args': {'tuple': []}, 'kwargs': {'dict': []}}))",
        "sock.sendall(frame({'id': 1, 'error': 'text'}))",
        "sock.sendall(frame({'id': 1, 'ok': {'handle': ['model', 'x']}}))",
        "sock.sendall(frame({'id': 1, 'ok': {'handle': [1, ['x']]}}))",
        "sock.sendall(frame({'id': 1, 'ok': {'tensor': 3}}, b'x' * 100))",
        "sock.sendall(frame({'id': True, 'ok': {'dict': 5}}))",
    ],
)
def test_garbage_on_the_socket_ends_the_process_and_nothing_else(hostile, body):
    student = hostile(f"{DATA_SOCKET}\ndef f(): {body}", "f")
    with pytest.raises(StudentDead) as caught:
        [student.f() for _ in range(2)]  # an answer too many is noticed at the next call
    assert caught.value.reason == "garbage"


def test_an_answer_sent_twice_is_noticed(hostile):
    student = hostile(
        f"{DATA_SOCKET}\ndef f(): sock.sendall(frame({{'id': 1, 'ok': 42}})); return 43", "f"
    )
    assert student.f() == 42
    with pytest.raises(StudentDead) as caught:
        student.f()
    assert caught.value.reason == "garbage"


def test_a_forged_exception_name_and_line_are_not_repeated(hostile):
    forged = "{'id': 1, 'error': {'type': '<script>secret</script>', 'line': 10**12}}"
    student = hostile(
        f"{DATA_SOCKET}\ndef f(): sock.sendall(frame({forged})); time.sleep(100)", "f"
    )
    with pytest.raises(StudentError) as caught:
        student.f()
    assert str(caught.value) == f"it raised {CUSTOM_EXCEPTION}"
    assert caught.value.line is None


def test_a_closed_socket_is_noticed_at_once(hostile):
    student = hostile(
        f"{DATA_SOCKET}\ndef f(): sock.close(); time.sleep(100)", "f", wall_seconds=30
    )
    with pytest.raises(StudentDead) as caught:
        student.f()
    assert caught.value.reason == "closed"


def test_an_alarm_in_the_serving_loop_is_noticed_at_once(hostile):
    source = """
def boom(*_): raise KeyError("alarm")
def f():
    signal.signal(signal.SIGALRM, boom)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    return 1
"""
    student = hostile(source, "f", wall_seconds=20)
    assert student.f() == 1
    import time

    time.sleep(0.5)
    with pytest.raises(StudentDead) as caught:
        student.f()
    assert caught.value.reason == "closed"


def test_a_thread_that_stays_behind_does_not_answer_for_others(hostile):
    source = """
def f(x):
    def later():
        while True:
            time.sleep(0.01)
            torch.ones(1).add_(1)
    threading.Thread(target=later, daemon=True).start()
    return x
"""
    student = hostile(source, "f")
    assert [student.f(n) for n in range(5)] == list(range(5))


def test_a_huge_answer_is_refused_before_it_fills_our_memory(hostile):
    student = hostile(
        f"{DATA_SOCKET}\ndef f(): sock.sendall(struct.pack('>IQ', 2, 2**33) + b'{{}}'); time.sleep(99)",
        "f",
        wire=WireLimits(tensor_bytes=1 << 20),
    )
    with pytest.raises(StudentDead) as caught:
        student.f()
    assert caught.value.reason == "garbage"


def test_a_peer_that_stops_reading_does_not_stop_the_grader(hostile):
    student = hostile(f"{DATA_SOCKET}\ndef f(g): time.sleep(100)", "f", wall_seconds=0.5)
    student._channel.send(
        {
            "op": "call",
            "id": 0,
            "function": {"handle": ["f", ""]},
            "args": {"tuple": [None]},
            "kwargs": {"dict": []},
            "keep": False,
        }
    )
    with pytest.raises(StudentDead) as caught:
        student.f(torch.zeros(8 << 20))
    assert caught.value.reason == "wall time"


def test_bytes_that_drip_for_ever_are_ended_by_time(hostile):
    source = f"""{DATA_SOCKET}
def f():
    sock.sendall(struct.pack('>IQ', 10**6, 0))
    while True:
        sock.sendall(b" ")
        time.sleep(0.02)
"""
    student = hostile(source, "f", wall_seconds=0.5)
    with pytest.raises(StudentDead) as caught:
        student.f()
    assert caught.value.reason == "wall time"


def test_calling_back_for_ever_is_ended_by_time(hostile):
    student = hostile("def f(g):\n    while True: g()", "f", wall_seconds=0.5)
    with pytest.raises(StudentDead) as caught:
        student.f(lambda: None)
    assert caught.value.reason == "wall time"


def test_a_callbacks_own_unsendable_result_is_the_authors_error(hostile):
    student = hostile("def f(g): return g()", "f")
    with pytest.raises(ValueError, match="cannot be sent"):
        student.f(lambda: torch.eye(2).to_sparse())
    assert student.f(lambda: 1) == 1


def test_objects_that_answer_every_question_are_only_handles(hostile):
    source = """
class Liar:
    def __eq__(self, other): return True
    def __getattr__(self, name): return self
    def __float__(self): return 1.0
    def __bool__(self): return True
    def __call__(self, *args): return self
def f(): return Liar()
"""
    student = hostile(source, "f")
    assert student.f() != 1
    assert student.f() != torch.ones(1)


def test_tensor_subclasses_arrive_as_plain_tensors(hostile):
    source = """
class Agrees(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return torch.ones(())
def f(): return torch.zeros(2).as_subclass(Agrees)
"""
    got = hostile(source, "f").f()
    assert type(got) is torch.Tensor
    assert got.equal(torch.zeros(2))


def test_calls_that_call_each_other_forever_end(hostile):
    student = hostile("def f(g): return g(g)", "f")

    def again(g: Any) -> Any:
        return student.f(again)

    with pytest.raises(StudentError):
        student.f(again)
