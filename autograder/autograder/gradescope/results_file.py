"""results.json as Gradescope's autograder specification describes it.

Everything in it is plain text, written by the course's authors or already sanitised; hidden inputs
and expected values are never in it. A submission that could not be graded has no score and no
tests: the file says why.
"""

from __future__ import annotations

from typing import Any

from ..course import Assignment
from ..grading.feedback import points_text, task_text
from ..results import Result, TaskResult
from ..sandbox import Isolation

WHOLE: dict[str, Any] = {
    "output_format": "text",
    "visibility": "visible",
    "stdout_visibility": "hidden",
}


def graded(
    result: Result, assignment: Assignment, isolation: Isolation, seconds: float
) -> dict[str, Any]:
    """The file of a graded submission: one test a task, with its partial points."""
    return {
        **WHOLE,
        "score": result.score,
        "execution_time": round(seconds),
        "output": _summary(result, assignment),
        "test_output_format": "text",
        "test_name_format": "text",
        "tests": [_test(number, task) for number, task in enumerate(result.tasks, start=1)],
        "extra_data": {
            "assignment": assignment.id,
            "key": result.key,
            "isolation": _isolation(isolation),
            "environment": result.record["environment"],
            "compute_seconds": result.compute_seconds,
        },
    }


def ungraded(reason: str, isolation: Isolation | None, seconds: float) -> dict[str, Any]:
    """The file of a submission that has no score: why, and what to do."""
    return {
        **WHOLE,
        "execution_time": round(seconds),
        "output": f"Ungraded: {reason}\nNo points were given or taken.",
        "extra_data": {"isolation": _isolation(isolation), "ungraded": reason},
    }


def _test(number: int, task: TaskResult) -> dict[str, Any]:
    return {
        "number": str(number),
        "name": task.task,
        "score": task.score,
        "max_score": task.points,
        "status": "passed" if task.score >= task.points else "failed",
        "output": task_text(task),
        "output_format": "text",
        "visibility": "visible",
    }


def _summary(result: Result, assignment: Assignment) -> str:
    lines = [
        f"Automatic score: {points_text(result.score)} of {points_text(result.points)} points."
    ]
    if assignment.written:
        worth = points_text(sum(assignment.written.values()))
        lines.append(f"Written questions ({worth} points) are read by a person.")
    if notes := [*result.repairs, *result.notes]:
        lines += ["The grader noted:", *(f"  {note}" for note in notes)]
    return "\n".join(lines)


def _isolation(isolation: Isolation | None) -> dict[str, Any]:
    if isolation is None:
        return {"level": "none: no code of the submission was run"}
    return {"level": isolation.level, "in words": str(isolation), "layers": isolation.layers()}
