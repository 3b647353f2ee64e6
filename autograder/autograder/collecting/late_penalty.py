"""Lateness in nbgrader's gradebook: its plugin for penalties, and what is known of each submission.

nbgrader keeps the penalty apart from the score. It asks the plugin whenever it grades; `settle` does
the same for what is graded already, after a new download, a new extension or a changed rule.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry, SubmittedAssignment
from nbgrader.plugins import BasePlugin
from traitlets import Unicode

from ..course import Course, CourseFolder, load_course, open_folder
from .attempts import Attempts
from .lateness import penalty


class LatePenalty(BasePlugin):
    """nbgrader's late-penalty plugin for a course folder: the rules are those of `course.toml`."""

    course_folder = Unicode("", help="The course folder that `autograder init` made.").tag(
        config=True
    )

    def late_submission_penalty(
        self, student_id: str, score: float, total_seconds_late: float
    ) -> float | None:
        """Points to take off; None where the rules take nothing."""
        assert self.parent is not None
        course = load_course(open_folder(Path(self.course_folder)).repository())
        assignment = course.assignment(self.parent.assignment_id)
        rules = course.handing_in(assignment.id)
        return penalty(total_seconds_late, assignment.total_points, rules) or None


def settle(folder: CourseFolder, course: Course, assignment_id: str) -> int:
    """Bring times, extensions and penalties in the gradebook up to date; how many rows changed.

    Submissions of which nothing was collected keep the time that they have.
    """
    attempts = Attempts(folder, course, assignment_id)
    points = course.assignment(assignment_id).total_points
    rules = course.handing_in(assignment_id)
    changed = 0
    with Gradebook(folder.database, course.id) as gradebook:
        try:
            submissions = gradebook.assignment_submissions(assignment_id)
        except MissingEntry:
            return 0
        for submission in submissions:
            before = _state(submission)
            _note_time(submission, attempts)
            late = submission.total_seconds_late if submission.assignment.duedate else 0.0
            for notebook in submission.notebooks:
                due = min(penalty(late, points, rules), max(0.0, notebook.score))
                notebook.late_submission_penalty = due or None
            changed += _state(submission) != before
        gradebook.db.commit()
    return changed


def _note_time(submission: SubmittedAssignment, attempts: Attempts) -> None:
    """The counting attempt's time, in UTC as nbgrader has it, and the roster's extension."""
    student = submission.student_id
    if (counted := attempts.counted(student)) is not None:
        submission.timestamp = naive_utc(counted.time)
    extension = attempts.extension(student)
    if submission.assignment.duedate is None:
        submission.extension = None  # nbgrader would add it to nothing
    elif extension is not None:
        submission.extension = extension or None


def naive_utc(time: datetime | None) -> datetime | None:
    """A time as nbgrader keeps it."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)


def _state(submission: SubmittedAssignment) -> tuple[object, ...]:
    penalties = [notebook.late_submission_penalty for notebook in submission.notebooks]
    return (submission.timestamp, submission.extension, *penalties)
