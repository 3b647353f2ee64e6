"""Calling a student's functions from outside, and the hidden tests that do it."""

from .client import (
    CallLimits,
    Handle,
    Student,
    StudentDead,
    StudentError,
    serve_code,
    source_line,
    start_student,
    take_code,
)
from .plugin import (
    HiddenTestsBroken,
    TaskOutcome,
    TestOutcome,
    run_hidden_tests,
    run_task,
    seed_for,
    task,
)

__all__ = [
    "CallLimits",
    "Handle",
    "HiddenTestsBroken",
    "Student",
    "StudentDead",
    "StudentError",
    "TaskOutcome",
    "TestOutcome",
    "run_hidden_tests",
    "run_task",
    "seed_for",
    "serve_code",
    "source_line",
    "start_student",
    "take_code",
    "task",
]
