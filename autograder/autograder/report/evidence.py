"""What a class report is made from: each submission's standing result, under a code and not a name."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import nbformat

from .. import cells
from ..course import Assignment, Course, CourseError, CourseFolder
from ..intake.matching import normalised
from ..ledger import Ledger
from ..results import GRADED, Result, Store, TaskResult
from ..standings import MISSING, UNGRADED, Standing, standings

CODE_LENGTH = 4
_FILE_NAMES = re.compile(r"\(.*\.ipynb\)|\S+\.ipynb\b")


@dataclass(frozen=True)
class Entry:
    """One person's place in the class.

    code: stands for the person on every page. why: the reason of what has no mark. blank: tasks
    whose answer cell is as the release left it. later_failed: a newer submission was not gradable,
    an earlier one counts.
    """

    code: str
    standing: Standing
    result: Result | None = None
    why: str = ""
    blank: frozenset[str] = frozenset()
    later_failed: bool = False

    @property
    def attempted(self) -> list[TaskResult]:
        """Results of the tasks that the person has written something for."""
        tasks = self.result.tasks if self.result else ()
        return [task for task in tasks if task.task not in self.blank]


@dataclass
class Evidence:
    """The class and everything that was ever stored or recorded about the assignment."""

    assignment: Assignment
    entries: list[Entry]
    stored: list[Result] = field(default_factory=list)
    events: list[dict[str, object]] = field(default_factory=list)
    current_tests: str = ""

    @property
    def graded(self) -> list[Entry]:
        """Entries with a result to count."""
        return [entry for entry in self.entries if entry.result is not None]

    @property
    def ungraded(self) -> list[Entry]:
        """Entries with something handed in and no mark, or with a newer file that gave none."""
        return [e for e in self.entries if e.standing.status == UNGRADED or e.later_failed]

    @property
    def handed_in(self) -> list[Entry]:
        """Entries with any submission."""
        return [entry for entry in self.entries if entry.standing.status != MISSING]

    @property
    def older(self) -> int:
        """How many of the results come from other hidden tests than most of them do."""
        digests = [tests_digest(entry.result) for entry in self.graded if entry.result]
        return sum(digest != self.current_tests for digest in digests)


def gather(folder: CourseFolder, course: Course, assignment: Assignment) -> Evidence:
    """Read gradebook, ledger and results; raises CourseError where nothing has been graded."""
    found = standings(folder, course, assignment)
    if all(standing.status == MISSING for standing in found):
        raise CourseError(
            f"{assignment.id} has no submissions yet. Grade first: autograder grade {assignment.id}"
        )
    ledger, store = Ledger(folder.ledger), Store(folder.results)
    codes = codes_for([standing.student for standing in found], folder.secret)
    original = _release_answers(course, assignment)
    names = [name for standing in found for name in _names(standing)]
    entries = []
    for standing in found:
        student = standing.student
        event = ledger.standing(student, assignment.id)
        last = ledger.last(student, assignment.id)
        later_failed = bool(event and last and last["status"] != GRADED)
        why = str(last["why"]) if last and later_failed else standing.why
        result = store.get(event["key"]) if event else None
        blank = _blank(result, original) if result else frozenset()
        masked = without_names(why, names)
        entry = Entry(codes[student], standing, result, masked, blank, later_failed)
        entries.append(entry)
    entries.sort(key=lambda entry: entry.code)
    evidence = Evidence(assignment, entries)
    evidence.events = [e for e in ledger.events() if e.get("assignment") == assignment.id]
    evidence.stored = [r for r in stored_results(store) if r.assignment == assignment.id]
    evidence.current_tests = _most_frequent(tests_digest(e.result) for e in entries if e.result)
    return evidence


def stored_results(store: Store) -> Iterable[Result]:
    """Every result in the store that can be read."""
    for path in sorted(store.folder.glob("*.json")):
        if (result := store.get(path.stem)) is not None:
            yield result


def tests_digest(result: Result) -> str:
    """The version of the hidden tests that a result was made with."""
    return str(result.record.get("environment", {}).get("hidden_tests", ""))


def codes_for(students: list[str], secret: bytes) -> dict[str, str]:
    """A short code for each student: the same in every report, unguessable without the secret."""
    digests = {
        student: base64.b32encode(
            hmac.new(secret, b"report code " + student.encode(), hashlib.sha256).digest()
        )
        .decode()
        .lower()
        for student in students
    }
    length = CODE_LENGTH
    while len({digest[:length] for digest in digests.values()}) < len(digests):
        length += 1
    return {student: digest[:length] for student, digest in digests.items()}


def without_names(text: str, names: Iterable[str]) -> str:
    """A reason without file names, student ids and names: it may quote what somebody typed."""
    text = _FILE_NAMES.sub("…", text)
    for name in sorted(set(names), key=len, reverse=True):
        if name:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text, flags=re.IGNORECASE)
    return text


def _names(standing: Standing) -> list[str]:
    person = standing.person
    return [standing.student, *([person.name, person.email] if person else [])]


def _release_answers(course: Course, assignment: Assignment) -> dict[str, str]:
    """The answer cells as students get them, by task."""
    path = course.release_notebook(assignment.id)
    if not path.is_file():
        raise CourseError(f"{path} is missing. Make it: autograder build {assignment.id}")
    slots = cells.slots_of(nbformat.read(path, as_version=4))
    return {str(s.task): normalised(s.cell.source) for s in slots if s.role == cells.ANSWER}


def _blank(result: Result, original: dict[str, str]) -> frozenset[str]:
    notebook = nbformat.reads(result.notebook, as_version=4)
    return frozenset(
        str(cells.task(cell))
        for cell in notebook.cells
        if cells.role(cell) == cells.ANSWER
        and normalised(cell.source) == original.get(str(cells.task(cell)))
    )


def _most_frequent(values: Iterable[str]) -> str:
    found = list(values)
    return max(sorted(set(found)), key=found.count) if found else ""
