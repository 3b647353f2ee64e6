"""Every attempt that was collected, and which one counts.

`attempts/<student>/<assignment>/<n>/` holds the files of the n-th, `attempts.json` beside them what is
known of each. `submitted/<student>/<assignment>/` holds the one that counts, as nbgrader expects it.
Nothing here is ever thrown away.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from ..course import Course, CourseError, CourseFolder
from ..intake.archives import folder_contents
from ..results import write_whole
from .lateness import ON_TIME, Timing, timing
from .roster import Person, read_roster

TIMESTAMP = "timestamp.txt"
BY_HAND = "by hand"


@dataclass(frozen=True)
class Delivery:
    """One submission as a download has it.

    time: with its zone, or None; time_text: as the LMS wrote it; lms_files: its numbers of the
    files; by: who handed in, for a group.
    """

    files: Mapping[str, bytes]
    source: str
    by: str
    time: datetime | None = None
    time_text: str = ""
    lms_files: tuple[str, ...] = ()
    lms_says_late: bool = False


@dataclass(frozen=True)
class Attempt:
    """What is known of one attempt of one student."""

    number: int
    digest: str
    source: str
    by: str
    submitted_at: str | None = None
    time_text: str = ""
    lms_files: tuple[str, ...] = ()
    lms_says_late: bool = False
    collected_at: str = ""

    @property
    def time(self) -> datetime | None:
        """When it was handed in, with its zone."""
        return datetime.fromisoformat(self.submitted_at) if self.submitted_at else None


class Attempts:
    """The attempts of one assignment."""

    def __init__(self, folder: CourseFolder, course: Course, assignment_id: str) -> None:
        self.folder = folder
        self.assignment = course.assignment(assignment_id)
        self.rules = course.handing_in(assignment_id)
        self._known: dict[str, tuple[list[Attempt], int | None]] = {}

    @cached_property
    def people(self) -> dict[str, Person]:
        """The roster by id; empty where there is none."""
        if not (self.folder.root / "roster.csv").is_file():
            return {}
        return {person.id: person for person in read_roster(self.folder)}

    def of(self, student: str) -> list[Attempt]:
        """All attempts of a student, in the order in which they were collected."""
        return list(self._read(student)[0])

    def path(self, student: str, number: int) -> Path:
        """Where the files of an attempt lie."""
        return self._home(student) / str(number)

    def extension(self, student: str) -> timedelta | None:
        """The roster's extension; None where it says nothing."""
        person = self.people.get(student)
        return person.extension(self.assignment.id) if person else None

    def timing(self, student: str, attempt: Attempt) -> Timing:
        """Whether an attempt was late."""
        return timing(attempt.time, self.assignment, self.rules, self.extension(student))

    def counted(self, student: str) -> Attempt | None:
        """The attempt that counts: the best, once it is known, or the last in time.

        Where none is known to be in time, the last of all; by number where a time is unknown.
        """
        attempts, best = self._read(student)
        if not attempts:
            return None
        if self.rules.attempts == "best" and best is not None:
            return attempts[best - 1]
        in_time = [a for a in attempts if self.timing(student, a).status == ON_TIME]
        candidates = in_time or attempts
        if any(attempt.time is None for attempt in candidates):
            return candidates[-1]
        return max(candidates, key=lambda attempt: (attempt.time, attempt.number))

    def add(self, student: str, delivery: Delivery) -> tuple[Attempt, bool]:
        """Keep a delivery, unless it is kept already; the attempt, and whether it is new.

        What a later download knows better, the time above all, is put right.
        """
        attempts, best = self._read(student)
        digest = digest_of_files(delivery.files)
        for known in attempts:
            if not _is(known, delivery, digest):
                continue
            better = known
            if delivery.time is not None or (delivery.time_text and not known.submitted_at):
                moment = delivery.time.isoformat() if delivery.time else None
                better = replace(known, submitted_at=moment, time_text=delivery.time_text)
            if better != known:
                attempts[known.number - 1] = better
                self._write(student, attempts, best)
            return better, False
        attempt = Attempt(
            number=len(attempts) + 1,
            digest=digest,
            source=delivery.source,
            by=delivery.by,
            submitted_at=delivery.time.isoformat() if delivery.time else None,
            time_text=delivery.time_text,
            lms_files=delivery.lms_files,
            lms_says_late=delivery.lms_says_late,
            collected_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._home(student).mkdir(parents=True, exist_ok=True, mode=0o700)
        write_folder(self.path(student, attempt.number), delivery.files)
        self._write(student, [*attempts, attempt], best)
        return attempt, True

    def adopt(self, student: str) -> Attempt | None:
        """Keep what was laid out in `submitted/` by hand; None where all of it is known."""
        place = self.folder.submitted / student / self.assignment.id
        if not place.is_dir() or place.is_symlink():
            return None
        contents = folder_contents(place)
        if contents.problems:
            raise CourseError(f"{place} holds a symbolic link. Put the file itself there.")
        stamp = ""
        files = {}
        for entry in contents.entries:
            if str(entry.path) == TIMESTAMP:
                stamp = entry.read().decode("utf-8", "replace").strip()
            else:
                files[str(entry.path)] = entry.read()
        known = {attempt.digest for attempt in self.of(student)}
        if not files or digest_of_files(files) in known:
            return None
        time = with_zone(stamp)
        return self.add(student, Delivery(files, BY_HAND, student, time, stamp))[0]

    def choose(self, student: str, number: int) -> None:
        """Note which attempt has the most points, and lay it out."""
        attempts, best = self._read(student)
        if best != number:
            self._write(student, attempts, number)
        self.lay_out(student)

    def lay_out(self, student: str) -> bool:
        """Put the attempt that counts into `submitted/`; False where it lies there already."""
        attempt = self.counted(student)
        if attempt is None:
            return False
        contents = folder_contents(self.path(student, attempt.number))
        files = {str(entry.path): entry.read() for entry in contents.entries}
        if attempt.time is not None:
            stamp = attempt.time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            files[TIMESTAMP] = stamp.encode()
        target = self.folder.submitted / student / self.assignment.id
        there = {str(e.path): e.read() for e in folder_contents(target).entries}
        if there == files:
            return False
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_folder(target, files)
        return True

    def _home(self, student: str) -> Path:
        return self.folder.root / "attempts" / student / self.assignment.id

    def _read(self, student: str) -> tuple[list[Attempt], int | None]:
        if student not in self._known:
            path = self._home(student) / "attempts.json"
            raw: dict[str, Any] = {}
            if path.is_file():
                try:
                    raw = json.loads(path.read_text("utf-8"))
                except ValueError as error:
                    raise CourseError(f"{path} cannot be read: {error}.") from error
            found = [
                Attempt(**{**item, "lms_files": tuple(item["lms_files"])})
                for item in raw.get("attempts", [])
            ]
            self._known[student] = (found, raw.get("best"))
        return self._known[student]

    def _write(self, student: str, attempts: list[Attempt], best: int | None) -> None:
        content = {"best": best, "attempts": [asdict(attempt) for attempt in attempts]}
        path = self._home(student) / "attempts.json"
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        self._known[student] = (attempts, best)


def _is(known: Attempt, delivery: Delivery, digest: str) -> bool:
    """Whether a delivery is an attempt that is kept: by the LMS's numbers, else by its content.

    The same content at another time is another attempt: A, B and then A again.
    """
    if known.lms_files and delivery.lms_files:
        return known.lms_files == delivery.lms_files
    if known.digest != digest:
        return False
    unknown = known.submitted_at is None or delivery.time is None
    same_moment = known.time == delivery.time or known.time_text == delivery.time_text
    return unknown or same_moment


def digest_of_files(files: Mapping[str, bytes]) -> str:
    """A digest over names and contents."""
    parts = sorted((name, hashlib.sha256(content).hexdigest()) for name, content in files.items())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder beside its place and put it there whole; what was there before goes."""
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".writing-"))
    try:
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if target.exists():
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=".old-"))
            os.rename(target, old / "it")
            os.rename(fresh, target)
            shutil.rmtree(old)
        else:
            os.rename(fresh, target)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def with_zone(text: str) -> datetime | None:
    """An ISO time with its zone, `2027-02-01T22:59:00Z` or `… UTC`; None for any other text."""
    try:
        time = datetime.fromisoformat(text.strip().replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
