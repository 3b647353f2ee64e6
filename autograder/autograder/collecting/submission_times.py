"""When things were handed in, as an LMS says it: Moodle's grading worksheet, or a list from Canvas.

A time counts only with its zone. Moodle writes none, in the language and zone of whoever downloads:
`--zone` says which. A time that cannot be read for certain is unknown.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..course import CourseError
from .downloads import Participant, Sent
from .roster import csv_rows

#: How Moodle writes dates, in English; a date in numbers alone could be read in two ways.
MOODLE_FORMATS = (
    "%A, %d %B %Y, %I:%M %p",
    "%A, %B %d, %Y, %I:%M %p",
    "%A, %d %b %Y, %I:%M %p",
    "%A, %d %B %Y, %H:%M",
    "%d %B %Y, %I:%M %p",
    "%d %B %Y, %H:%M",
)
#: Column names of lists that people export or write, without blanks and signs.
PERSON_COLUMNS = ("userid", "canvasuserid", "lmsid", "email", "sisloginid", "studentid", "id")
TIME_COLUMNS = ("submittedat", "submissiontime", "submitted", "timestamp", "time")
FILE_COLUMNS = ("attachmentid", "fileid")


@dataclass
class Times:
    """Times as text, by the LMS's number of a file and by what names a person; worksheet rows."""

    zone: ZoneInfo | None = None
    by_file: dict[str, str] = field(default_factory=dict)
    by_person: dict[str, str] = field(default_factory=dict)
    worksheet: dict[str, Participant] = field(default_factory=dict)
    files_listed: bool = False

    def text(self, sent: Sent) -> str:
        """What the LMS says of one file; "" where it says nothing of it."""
        if sent.lms_file in self.by_file:
            return self.by_file[sent.lms_file]
        if self.files_listed and sent.lms_file:
            return ""  # the list is of another upload
        person = sent.person
        names = [sent.lms_number]
        names += [person.lms_id, person.email.casefold(), person.id] if person else []
        return next((self.by_person[name] for name in names if name in self.by_person), "")

    def moment(self, text: str) -> datetime | None:
        """A time with its zone; None where either is not certain."""
        time = _read(text)
        if time is None or time.tzinfo is not None:
            return time
        if self.zone is None:
            return None
        early, late = (time.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
        # In the hours in which clocks are changed a time comes twice, or never.
        return early if early.utcoffset() == late.utcoffset() else None


def _read(text: str) -> datetime | None:
    text = re.sub(r"\s+", " ", text).strip()
    try:
        return datetime.fromisoformat(re.sub(r" (UTC|GMT)$", "+00:00", text))
    except ValueError:
        pass
    for pattern in MOODLE_FORMATS:
        try:
            return datetime.strptime(text, pattern)
        except ValueError:
            continue
    return None


def read_times(path: Path | None, zone: str | None) -> Times:
    """The times in a file beside a download; raises CourseError where it has none."""
    times = Times()
    if zone is not None:
        try:
            times.zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise CourseError(
                f"--zone {zone}: no such time zone. Write it as Europe/Berlin."
            ) from error
    if path is None:
        return times
    if not path.is_file():
        raise CourseError(f"{path}: there is no such file of submission times.")
    if path.suffix.lower() == ".json":
        _read_canvas_json(path, times)
    else:
        _read_csv(path, times)
    return times


def _read_canvas_json(path: Path, times: Times) -> None:
    """Canvas's own list of submissions, as its API gives it, with or without their history."""
    try:
        raw = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CourseError(f"{path} is not JSON: {error}.") from error
    entries = raw.get("submissions") if isinstance(raw, dict) else raw
    if not isinstance(entries, list):
        raise CourseError(f"{path} is not a list of Canvas submissions.")
    for entry in entries:
        if isinstance(entry, dict):
            history = entry.get("submission_history")
            for one in (history if isinstance(history, list) else []) + [entry]:
                _note_canvas(one, times)


def _note_canvas(entry: Any, times: Times) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("submitted_at"), str):
        return
    times.by_person[str(entry.get("user_id"))] = entry["submitted_at"]
    for attachment in entry.get("attachments") or []:
        if isinstance(attachment, dict) and "id" in attachment:
            times.files_listed = True
            times.by_file[str(attachment["id"])] = entry["submitted_at"]


def _read_csv(path: Path, times: Times) -> None:
    rows = [
        (number, {re.sub(r"[\W_]+", "", key): value for key, value in row.items()})
        for number, row in csv_rows(path)
    ]
    columns = set(rows[0][1]) if rows else set()
    if {"identifier", "lastmodifiedsubmission"} <= columns:
        for _, row in rows:
            _note_moodle(row, times)
        return
    person = next((name for name in PERSON_COLUMNS if name in columns), None)
    time = next((name for name in TIME_COLUMNS if name in columns), None)
    if person is None or time is None:
        raise CourseError(
            f"{path} has no times. It needs Moodle's columns 'Identifier' and 'Last modified "
            "(submission)', or 'user_id' and 'submitted_at' (and 'attachment_id', if you have it)."
        )
    file = next((name for name in FILE_COLUMNS if name in columns), None)
    for _, row in rows:
        times.by_person[row[person].casefold()] = row[time]
        if file is not None and row[file]:
            times.files_listed = True
            times.by_file[row[file]] = row[time]


def _note_moodle(row: dict[str, str], times: Times) -> None:
    found = re.search(r"(\d+)\s*$", row["identifier"])
    if not found:
        return
    number = found.group(1)
    times.worksheet[number] = Participant(
        number, row.get("fullname", ""), row.get("emailaddress", ""), row.get("idnumber", "")
    )
    if row["lastmodifiedsubmission"] not in ("", "-"):
        times.by_person[number] = row["lastmodifiedsubmission"]
