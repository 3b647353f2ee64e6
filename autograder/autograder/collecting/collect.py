"""`autograder collect`: an LMS's download laid out as submissions, every attempt kept.

A file that cannot be matched to one student for certain is listed and goes to nobody. Collecting the
same download again changes nothing; a newer one adds attempts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ..course import Course, CourseError, CourseFolder
from ..intake.archives import Contents, Entry, Unreadable, opened
from .attempts import TIMESTAMP, Attempts, Delivery
from .downloads import Naming, NotMatched, Sent, any_zip, canvas, is_noise, moodle
from .lateness import Timing
from .roster import Person, Roster, read_roster
from .submission_times import Times, read_times

SOURCES = ("canvas", "moodle", "zip")
LONGEST_NAME = 120


@dataclass(frozen=True)
class Line:
    """One student after collecting: how many attempts there are, which counts, and when it came."""

    student: str
    attempts: int
    new: int
    counts: int
    timing: Timing
    submitted_at: datetime | None = None
    remarks: tuple[str, ...] = ()


@dataclass
class Collection:
    """What a download brought."""

    lines: list[Line] = field(default_factory=list)
    unmatched: list[tuple[str, str]] = field(default_factory=list)
    absent: list[Person] = field(default_factory=list)


@dataclass
class Parcel:
    """The files that one person or group sent, before they are read."""

    person: Person | None
    group: str
    entries: list[tuple[Entry, Sent]] = field(default_factory=list)


def collect(
    folder: CourseFolder,
    course: Course,
    assignment_id: str,
    source: str,
    path: Path,
    times_file: Path | None = None,
    zone: str | None = None,
) -> Collection:
    """Lay a download (a zip file, or the folder that it was unpacked to) out; raises CourseError."""
    people = read_roster(folder)
    times = read_times(times_file, zone)
    attempts = Attempts(folder, course, assignment_id)
    collector = _Collector(attempts, Roster(people), times, source)
    try:
        with opened(path) as contents:
            collector.take(contents)
    except Unreadable as problem:
        raise CourseError(f"{path} cannot be collected: {problem}.") from problem
    return collector.result()


class _Collector:
    """One run of `collect`."""

    def __init__(self, attempts: Attempts, roster: Roster, times: Times, source: str) -> None:
        self.attempts, self.roster, self.times, self.source = attempts, roster, times, source
        self.naming: Naming = {
            "canvas": canvas,
            "moodle": moodle(times.worksheet),
            "zip": any_zip,
        }[source]
        self.unmatched: list[tuple[str, str]] = []
        self.new: dict[str, int] = defaultdict(int)
        self.remarks: dict[str, list[str]] = defaultdict(list)

    def take(self, contents: Contents) -> None:
        """Match every file, read what each person sent, and keep it, the oldest first."""
        self.unmatched = [(name, why) for name, why in contents.problems if "__MACOSX" not in name]
        parcels: dict[str, Parcel] = {}
        for entry in contents.entries:
            if is_noise(entry.path):
                continue
            try:
                sent = self.naming(entry.path, self.roster)
            except NotMatched as problem:
                self.unmatched.append((str(entry.path), str(problem)))
                continue
            key = f"person {sent.person.id}" if sent.person else f"group {sent.group}"
            parcel = parcels.setdefault(key, Parcel(sent.person, sent.group))
            parcel.entries.append((entry, sent))
        for parcel in sorted(parcels.values(), key=self._age):
            self._keep(parcel)

    def _age(self, parcel: Parcel) -> tuple[datetime, int, str]:
        moment = self._moment(parcel)[0] or datetime.max.replace(tzinfo=UTC)
        numbers = [int(sent.lms_file) for _, sent in parcel.entries if sent.lms_file]
        return moment, max(numbers, default=0), parcel.person.id if parcel.person else parcel.group

    def _moment(self, parcel: Parcel) -> tuple[datetime | None, str]:
        """When a parcel came: the latest of its files, unknown where one is; and the LMS's words."""
        if parcel.person is None:
            texts = {self._of_member(member) for member in self.roster.members(parcel.group)}
            texts -= {""} if len(texts) > 1 else set()
        else:
            texts = {self.times.text(sent) for _, sent in parcel.entries}
        moments = [self.times.moment(text) for text in texts]
        known = [moment for moment in moments if moment is not None]
        if len(known) < len(moments) or (parcel.person is None and len(set(known)) != 1):
            return None, "; ".join(sorted(texts))
        return max(known), "; ".join(sorted(texts))

    def _of_member(self, member: Person) -> str:
        """Moodle lists a group's time with each member."""
        for number, participant in self.times.worksheet.items():
            try:
                if participant.person(self.roster) == member:
                    return self.times.by_person.get(number, "")
            except NotMatched:
                continue
        return ""

    def _keep(self, parcel: Parcel) -> None:
        """Read a parcel's files and add them to the attempts of everyone whom they credit."""
        read: list[tuple[str, bytes]] = []
        for entry, sent in parcel.entries:
            try:
                read.append((sent.name, entry.read()))
            except Unreadable as problem:
                self.unmatched.append((str(entry.path), str(problem)))
        if not read:
            return
        moment, text = self._moment(parcel)
        delivery = Delivery(
            files=laid_out(read, self.attempts.assignment.id),
            source=self.source,
            by=parcel.person.id if parcel.person else parcel.group,
            time=moment,
            time_text=text,
            lms_files=tuple(sorted(sent.lms_file for _, sent in parcel.entries if sent.lms_file)),
            lms_says_late=any(sent.says_late for _, sent in parcel.entries),
        )
        for member in self._credited(parcel):
            self._add(member, delivery)

    def _credited(self, parcel: Parcel) -> Iterable[Person]:
        """The sender, and everyone of a group that hands in together."""
        if parcel.person is None:
            return self.roster.members(parcel.group)
        group = parcel.person.group if self.attempts.rules.groups else ""
        return self.roster.members(group) or [parcel.person]

    def _add(self, member: Person, delivery: Delivery) -> None:
        if self.attempts.adopt(member.id) is not None:
            self.remarks[member.id].append("what lay in submitted/ was kept as an attempt")
        attempt, new = self.attempts.add(member.id, delivery)
        self.new[member.id] += new
        newest = len(self.attempts.of(member.id))
        if not new and attempt.number != newest and delivery.time is None:
            self.remarks[member.id].append(
                f"this download has attempt {attempt.number} although attempt {newest} is newer"
            )

    def result(self) -> Collection:
        """Lay out what counts, and say what there is of everyone."""
        collection = Collection(unmatched=sorted(self.unmatched))
        for person in sorted(self.roster.people.values(), key=lambda person: person.id):
            self.attempts.lay_out(person.id)
            if line := self._line(person):
                collection.lines.append(line)
            elif not (self.attempts.folder.submitted / person.id / self._id).is_dir():
                collection.absent.append(person)
        return collection

    @property
    def _id(self) -> str:
        return self.attempts.assignment.id

    def _line(self, person: Person) -> Line | None:
        found = self.attempts.of(person.id)
        counted = self.attempts.counted(person.id)
        if counted is None:
            return None
        remarks = list(self.remarks[person.id])
        if counted.by != person.id:
            remarks.append(f"handed in by {counted.by}")
        if counted.lms_says_late and counted.time is None:
            remarks.append("the LMS marks it late")
        if counted.number != len(found):
            newest = self.attempts.timing(person.id, found[-1])
            remarks.append(f"attempt {len(found)}: {newest.text}")
        return Line(
            person.id,
            len(found),
            self.new[person.id],
            counted.number,
            self.attempts.timing(person.id, counted),
            counted.time,
            tuple(remarks),
        )


def laid_out(read: list[tuple[str, bytes]], assignment_id: str) -> dict[str, bytes]:
    """Files under names of ours: plain, short, each once; a lone notebook under the assignment's."""
    notebooks = [name for name, _ in read if name.lower().endswith(".ipynb")]
    files: dict[str, bytes] = {}
    for name, content in read:
        if len(notebooks) == 1 and name == notebooks[0]:
            name = f"{assignment_id}.ipynb"
        name = re.sub(r"[/\\\x00-\x1f]", "_", name).lstrip(".")[-LONGEST_NAME:] or "file"
        if name == TIMESTAMP or name == "attempts.json":
            name = f"handed in {name}"
        stem, dot, suffix = name.rpartition(".")
        number = 2
        while name in files:
            name = f"{stem or suffix} ({number}){dot if stem else ''}{suffix if stem else ''}"
            number += 1
        files[name] = content
    return files
