"""What an LMS's download of submissions calls things: whose a file is, and what its name was.

Canvas names a file `<lastfirst>[_LATE]_<user>_<file>_<name>`; a name's letters and digits alone are
kept, and a second upload of the same name gets `-1`, `-2`. Moodle makes a folder
`<Full Name>_<participant>_assignsubmission_file[_]/`, or writes the same in front of each file's
name; a group's folder carries the group's name. `zip` is any archive in which a folder's or a file's
name is a student's id, email or LMS number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from .roster import Person, Roster, spoken

_CANVAS = re.compile(
    r"(?P<name>.*?)(?P<late>_LATE)?_(?P<user>\d+)_(?P<file>\d+)_(?P<rest>.+)", re.DOTALL
)
_CANVAS_TEXT = re.compile(r".*?(?:_LATE)?_\d+_(text|link)\.html")
_CANVAS_ANONYMOUS = re.compile(r"(?:LATE_)?anon_\w+?_\d+_.+")
_MOODLE = re.compile(
    r"(?P<name>.+?)(?:_(?P<number>\d+))?_assignsubmission_(?P<kind>[a-z]+)(?:_(?P<rest>.*))?"
)
#: What archives hold beside what they were asked to hold.
_NOISE = ("__MACOSX",)


class NotMatched(Exception):
    """A file that belongs to nobody for sure; the message is a clause that says why."""


@dataclass(frozen=True)
class Sent:
    """Whose a file is: the person who sent it, or a group; its own name; the LMS's number of it."""

    name: str
    person: Person | None = None
    group: str = ""
    lms_file: str = ""
    lms_number: str = ""
    says_late: bool = False


Naming = Callable[[PurePosixPath, Roster], Sent]


def is_noise(path: PurePosixPath) -> bool:
    """Whether a file is an operating system's or an editor's own."""
    return any(part in _NOISE or part.startswith(".") for part in path.parts)


def canvas(path: PurePosixPath, roster: Roster) -> Sent:
    """Canvas's download; raises NotMatched."""
    if _CANVAS_ANONYMOUS.fullmatch(path.name):
        raise NotMatched("it was handed in anonymously; reveal the names in Canvas first")
    if _CANVAS_TEXT.fullmatch(path.name):
        raise NotMatched("it is text or a link typed into Canvas, no file")
    found = _CANVAS.fullmatch(path.name)
    if not found:
        raise NotMatched("its name is none that Canvas gives")
    user = found["user"]
    person = roster.one("lms_id", user)
    if person is None:
        person = _by_slug(found["name"], user, roster)
    name = re.sub(r"-\d+(?=\.[^.]+$)", "", found["rest"])
    return Sent(name, person, "", found["file"], user, bool(found["late"]))


def _by_slug(slug: str, user: str, roster: Roster) -> Person:
    """Whoever the name fits, if one alone does and the roster has no other number for them."""
    person = roster.one("slug", slug)
    if person is None:
        many = roster.count("slug", slug)
        who = f"{many} people have that name" if many else "nobody has that name"
        raise NotMatched(f"no lms_id in roster.csv is {user}, and {who}")
    if person.lms_id:
        raise NotMatched(f"its number is {user}, but {person.id} has the lms_id {person.lms_id}")
    return person


@dataclass(frozen=True)
class Participant:
    """One row of Moodle's grading worksheet."""

    number: str
    name: str = ""
    email: str = ""
    id_number: str = ""

    def person(self, roster: Roster) -> Person:
        """Whom the worksheet means; raises NotMatched where its columns disagree or fit nobody."""
        answers = [
            roster.one("email", self.email),
            roster.one("id", self.id_number),
            roster.one("lms_id", self.id_number),
        ]
        found = {person.id: person for person in answers if person is not None}
        if not found and (by_name := roster.one("name", self.name)) is not None:
            found = {by_name.id: by_name}
        if len(found) != 1:
            what = f"fits {' and '.join(sorted(found))}" if found else "is not in roster.csv"
            raise NotMatched(f"participant {self.number} of the worksheet ({self.name}) {what}")
        return next(iter(found.values()))


def moodle(worksheet: dict[str, Participant]) -> Naming:
    """Moodle's download, with what its grading worksheet says of each participant number."""

    def naming(path: PurePosixPath, roster: Roster) -> Sent:
        matches = [_MOODLE.fullmatch(part) for part in path.parts]
        at = next((at for at, match in enumerate(matches) if match), None)
        if at is None or (found := matches[at]) is None:
            raise NotMatched("its name is none that Moodle gives")
        if found["kind"] != "file":
            raise NotMatched("it is text typed into Moodle, no file")
        inner = path.parts[at + 1 :]
        name = inner[-1] if inner else (found["rest"] or "")
        if not name:
            raise NotMatched("its name is none that Moodle gives")
        number = found["number"] or ""
        if number in worksheet:
            return Sent(name, worksheet[number].person(roster), lms_number=number)
        if roster.members(found["name"]):
            return Sent(name, None, spoken(found["name"]), lms_number=number)
        return Sent(name, _by_name(found["name"], number, roster), lms_number=number)

    return naming


def _by_name(name: str, number: str, roster: Roster) -> Person:
    """Whoever has this full name alone; `Group-Full Name` where that is their group."""
    person = roster.one("name", name)
    group, dash, rest = name.partition("-")
    if person is None and dash and (member := roster.one("name", rest)) is not None:
        person = member if spoken(member.group) == spoken(group) else None
    if person is None:
        many = roster.count("name", name)
        who = f"{many} people are called" if many else "nobody in roster.csv is called"
        raise NotMatched(f"{who} {name}; give Moodle's grading worksheet with --times")
    other = roster.one("lms_id", number)
    if other is not None and other != person:
        raise NotMatched(f"its number {number} is {other.id}'s lms_id, its name {person.id}'s")
    return person


def any_zip(path: PurePosixPath, roster: Roster) -> Sent:
    """Any archive whose folders or files are named for students; raises NotMatched."""
    labels = [*path.parts[:-1], path.name.split(".", 1)[0], PurePosixPath(path.name).stem]
    found: dict[str, Person] = {}
    for label in labels:
        for kind in ("id", "email", "lms_id"):
            person = roster.one(kind, label)
            if person is not None:
                found[person.id] = person
    if len(found) != 1:
        fits = f"fits {' and '.join(sorted(found))}" if found else "names nobody in roster.csv"
        raise NotMatched(f"no folder or file name is one student's: it {fits}")
    return Sent(path.name, next(iter(found.values())))
