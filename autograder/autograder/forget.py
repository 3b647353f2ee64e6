"""`autograder forget STUDENT`: take a person out of every store of the course folder.

Everything that is theirs is deleted, and it is deleted rather than put under another name: a
notebook, a line of scores or a time of day still points to whoever wrote it.

The ledger is append-only with this one exception. The person's events are cut out, because scores
with times identify somebody who is known to have been there; one event stays that says how many were
removed and when, so that the file shows that it was changed. A stored result is deleted unless
somebody else handed in the very same notebook, and then too if it names the person: grading makes it
again. Reports and exports are made from all this and hold everybody, so all of them go.

What others wrote about the person cannot be cut out of their work. It is searched for, in archives
and databases too, and named to whoever asked.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from .collecting.roster import Person
from .course import Course, CourseError, CourseFolder
from .gradebook import unreachable
from .results import Result, Store, notebook_digest, write_whole
from .standings import people

#: Folders with one folder for each person.
STORES = ("submitted", "clean", "attempts", "autograded", "feedback")
#: Folders that are searched in other ways, or hold nothing of persons.
NOT_BY_PERSON = ("results", "logs", "source", "release")
#: Folders made from the others, for the whole class: removed as a whole.
DERIVED = ("reports", "exports")
#: Name of whoever an event is about that says that others were removed.
FORGOTTEN = "(forgotten)"
_LOG_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
#: Words of a name shorter than this are found everywhere.
MIN_NAME = 4


@dataclass
class Forgotten:
    """What was removed, in words, and files of others in which the person is still named."""

    student: str
    removed: list[str] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Identity:
    """What a person may be called: the id first, then what the roster knows."""

    student: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, folder: CourseFolder, student: str, roster: list[Person]) -> Identity:
        """The person's id, name (and its other order), email and LMS id.

        An id that is also the name of an assignment or of a part of the folder is looked for only
        where it stands in quotes or after a store's name: else every log line would be theirs.
        """
        ordinary = (folder.root / student).exists() or (folder.root / "source" / student).exists()
        known = [] if ordinary else [student]
        for person in roster:
            if person.id == student:
                words = person.name.replace(",", " ").split()
                known += [person.name, " ".join(words), " ".join(reversed(words)), person.email]
                known += [person.lms_id] if len(person.lms_id) >= MIN_NAME else []
        known += [json.dumps(name)[1:-1] for name in known]  # as JSON may spell an accent
        return cls(student, tuple(dict.fromkeys(name for name in known if name.strip())))

    def pattern(self) -> re.Pattern[str]:
        """Finds any of the names as a whole word, letter case aside."""
        ways = [re.escape(name) for name in sorted(self.names, key=len, reverse=True)]
        after = "|".join(f"(?<={store}/)" for store in STORES)
        ways.append(f"(?:{after}|(?<=ID '))" + re.escape(self.student))
        return re.compile(rf"(?<![\w-])(?:{'|'.join(ways)})(?![\w-])", re.IGNORECASE)


def forget(
    folder: CourseFolder, course: Course, student: str, *, dry_run: bool = False
) -> Forgotten:
    """Remove a person; with `dry_run` only say what would go. Raises CourseError.

    The roster's line goes last: a call that was interrupted can be made again.
    """
    if not student or student != Path(student).name or student in (".", ".."):
        raise CourseError(f"{student!r} is no student id.")
    identity = Identity.of(folder, student, people(folder))
    done = Forgotten(student)
    events = _events(folder.ledger)
    own_results, shared = results_of(folder, identity, events)
    steps = _folder_steps(folder, student)
    steps += [(f"results/{path.name}", path) for path in own_results]
    done.removed = [what for what, _ in steps] + _rewrites(folder, course, identity, events)
    done.shared = [f"results/{path.name}" for path in shared]
    if not done.removed:
        known = sorted({path.name for path in folder.submitted.glob("*") if path.is_dir()})
        raise CourseError(
            f"Nothing of {student!r} is in {folder.root}. Ids are the names of the folders in "
            f"submitted/, for instance {', '.join(known[:3]) or 'none yet'}."
        )
    derived = [
        (f"{name}/", folder.root / name) for name in DERIVED if (folder.root / name).exists()
    ]
    done.removed += [what for what, _ in derived]
    if dry_run:
        return done
    for _, path in steps + derived:
        _delete(path)
    _rewrite(folder, course, identity, events)
    done.remains = sorted(mentions(folder, identity))
    return done


def _folder_steps(folder: CourseFolder, student: str) -> list[tuple[str, Path]]:
    """What lies under the person's id: their folders in the stores, and files that were collected."""
    found = [folder.root / store / student for store in STORES]
    assignments = {path.name for path in (folder.root / "source").glob("*")}
    for top in sorted(folder.root.iterdir()):
        if not top.is_dir() or top.name in (*STORES, *NOT_BY_PERSON, *DERIVED):
            continue
        # Somebody whose id is an assignment's name must not take the assignment away.
        for path in sorted(top.rglob("*")) if student not in assignments else ():
            if student in (path.name, path.name.split(".")[0]):
                found.append(path)
    there = [path for path in found if os.path.lexists(path)]
    outermost = [path for path in there if not any(parent in there for parent in path.parents)]
    return [(str(path.relative_to(folder.root)), path) for path in outermost]


def results_of(
    folder: CourseFolder, identity: Identity, events: list[dict[str, Any]]
) -> tuple[list[Path], list[Path]]:
    """Stored results to delete, and those to keep because somebody else has the same notebook."""
    store, pattern = Store(folder.results), identity.pattern()
    mine = {str(event["key"]) for event in events if event.get("student") == identity.student}
    others = {str(event["key"]) for event in events if event.get("student") != identity.student}
    my_notebooks, their_notebooks = _notebooks(folder, identity.student)
    delete, keep = [], []
    for path in sorted(store.folder.glob("*.json")):
        result = store.get(path.stem)
        digest = _digest(result)
        is_mine = path.stem in mine or digest in my_notebooks
        is_theirs = path.stem in others or digest in their_notebooks
        named = bool(pattern.search(path.read_text("utf-8", "replace")))
        if (is_mine and not is_theirs) or (named and (is_mine or not is_theirs)):
            delete.append(path)
        elif is_mine:
            keep.append(path)
    return delete, keep


def _notebooks(folder: CourseFolder, student: str) -> tuple[set[str], set[str]]:
    """Digests of the clean notebooks on file: the person's, and everybody else's."""
    mine: set[str] = set()
    theirs: set[str] = set()
    for path in sorted(folder.clean.glob("*/*/*.ipynb")):
        try:
            digest = notebook_digest(nbformat.read(path, as_version=4))
        except Exception:  # whatever a damaged file makes nbformat raise: then it matches nothing
            continue
        (mine if path.relative_to(folder.clean).parts[0] == student else theirs).add(digest)
    return mine, theirs


def _digest(result: Result | None) -> str:
    if result is None or not result.notebook:
        return ""
    return notebook_digest(nbformat.reads(result.notebook, as_version=4))


def _rewrites(
    folder: CourseFolder, course: Course, identity: Identity, events: list[dict[str, Any]]
) -> list[str]:
    """What would be cut out of files that hold everybody."""
    found = []
    count = sum(event.get("student") == identity.student for event in events)
    if count:
        found.append(f"{count} events in {folder.ledger.name}")
    if _in_gradebook(folder, course, identity.student):
        found.append("the person and all scores in the gradebook")
    for path in _logs(folder):
        _, cut = _without_records(path.read_text("utf-8", "replace"), identity.pattern())
        if cut:
            found.append(f"{cut} records in logs/{path.name}")
    for path in _attempt_records(folder):
        theirs = path.relative_to(folder.root / "attempts").parts[0] == identity.student
        text = path.read_text("utf-8")
        if not theirs and _by_nobody(text, identity) != text:
            found.append(f"who handed in, in {path.relative_to(folder.root)}")
    if _roster_without(folder, identity.student) is not None:
        found.append("the line in roster.csv")
    return found


def _rewrite(
    folder: CourseFolder, course: Course, identity: Identity, events: list[dict[str, Any]]
) -> None:
    _forget_in_gradebook(folder, course, identity.student)
    _forget_in_ledger(folder, identity.student, events)
    for path in _logs(folder):
        text = path.read_text("utf-8", "replace")
        kept, cut = _without_records(text, identity.pattern())
        if cut:
            write_whole(path, kept)
    for path in _attempt_records(folder):
        before = path.read_text("utf-8")
        if (after := _by_nobody(before, identity)) != before:
            write_whole(path, after)
    roster = _roster_without(folder, identity.student)
    if roster is not None:
        write_whole(folder.root / "roster.csv", roster)


def _events(ledger: Path) -> list[dict[str, Any]]:
    lines = ledger.read_text("utf-8").splitlines() if ledger.is_file() else []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def _forget_in_ledger(folder: CourseFolder, student: str, events: list[dict[str, Any]]) -> None:
    """The ledger without the person, and with one event that says that something was cut out."""
    kept = [event for event in events if event.get("student") != student]
    if len(kept) == len(events):
        return
    blank = {"assignment": "", "key": "", "notebook": "", "why": "", "old": {}, "new": {}}
    kept.append(
        {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "student": FORGOTTEN,
            **blank,
            "status": "forgotten",
            "reason": f"forget: {len(events) - len(kept)} events of one person were removed",
        }
    )
    text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in kept)
    write_whole(folder.ledger, text)


def _in_gradebook(folder: CourseFolder, course: Course, student: str) -> bool:
    with _gradebook(folder, course) as gradebook:
        try:
            gradebook.find_student(student)
        except MissingEntry:
            return False
        return True


def _forget_in_gradebook(folder: CourseFolder, course: Course, student: str) -> None:
    """Through nbgrader's API; then the database is packed, so that freed pages hold nothing."""
    with _gradebook(folder, course) as gradebook:
        try:
            gradebook.remove_student(student)
        except MissingEntry:
            return
    engine = create_engine(folder.database, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text("VACUUM"))
    finally:
        engine.dispose()


def _gradebook(folder: CourseFolder, course: Course) -> Gradebook:
    """The gradebook; raises CourseError where it cannot be opened."""
    try:
        return Gradebook(folder.database, course.id)
    except SQLAlchemyError as error:
        raise unreachable(folder.database, error) from error


def _logs(folder: CourseFolder) -> list[Path]:
    return sorted(path for path in (folder.root / "logs").rglob("*") if path.is_file())


def _without_records(text: str, pattern: re.Pattern[str]) -> tuple[str, int]:
    """A log without the records (a dated line and what follows it) that name somebody."""
    records: list[list[str]] = []
    for line in text.splitlines(keepends=True):
        if _LOG_RECORD.match(line) or not records:
            records.append([])
        records[-1].append(line)
    kept = [record for record in records if not pattern.search("".join(record))]
    return "".join("".join(record) for record in kept), len(records) - len(kept)


def _attempt_records(folder: CourseFolder) -> list[Path]:
    """What is known of others' attempts: a group's names the member who handed in."""
    return sorted((folder.root / "attempts").glob("*/*/attempts.json"))


def _by_nobody(text: str, identity: Identity) -> str:
    """A JSON text in which no value is the person's id or name."""
    names = {name.casefold() for name in (identity.student, *identity.names)}

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(item) for key, item in value.items()}
        if isinstance(value, list):
            return [without(item) for item in value]
        return FORGOTTEN if isinstance(value, str) and value.casefold() in names else value

    try:
        raw = json.loads(text)
    except ValueError:
        return text
    changed = without(raw)
    return text if changed == raw else json.dumps(changed, indent=1, ensure_ascii=False) + "\n"


def _roster_without(folder: CourseFolder, student: str) -> str | None:
    """The roster's text without the person's line; None where there is no such line."""
    path = folder.root / "roster.csv"
    if not path.is_file():
        return None
    text = path.read_text("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    column = header.index("id") if "id" in header else 0
    kept = [r for r in rows if len(r) <= column or r[column].strip() != student or r is rows[0]]
    if len(kept) == len(rows):
        return None
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(kept)
    return out.getvalue()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mentions(folder: CourseFolder, identity: Identity) -> Iterator[str]:
    """Files that still name the person, by content or by their own name; archives are opened."""
    pattern = identity.pattern()
    for path in sorted(folder.root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = str(path.relative_to(folder.root))
        if any(pattern.search(text) for text in (name, *_texts(path))):
            yield name


def _texts(path: Path) -> Iterator[str]:
    """A file's text, and the names and texts of what is packed in it."""
    text = path.read_bytes().decode("utf-8", "replace")
    yield text
    if "&" in text:
        yield html.unescape(text)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    yield member.filename
                    if not member.flag_bits & 1 and member.file_size < 1 << 26:
                        yield archive.read(member).decode("utf-8", "replace")
        except (OSError, zipfile.BadZipFile, NotImplementedError):
            return
