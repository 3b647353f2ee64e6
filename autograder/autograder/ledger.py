"""An append-only record of every score event: when, whose, under which key, from what to what."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .results import GRADED, Result


class Ledger:
    """The ledger file of a course folder; opened once for a batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: dict[tuple[str, str], dict[str, Any]] = {}
        self._standing: dict[tuple[str, str], dict[str, Any]] = {}
        for event in self.events():
            self._remember(event)

    def events(self) -> Iterator[dict[str, Any]]:
        """All events, oldest first; a line cut short by a crash is skipped."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def last(self, student: str, assignment: str) -> dict[str, Any] | None:
        """The newest event of one student and assignment."""
        return self._last.get((student, assignment))

    def standing(self, student: str, assignment: str) -> dict[str, Any] | None:
        """The event that gave the mark which stands: the newest that graded something."""
        return self._standing.get((student, assignment))

    def append(self, student: str, result: Result, reason: str, notebook: str = "") -> None:
        """Add one event; one whose key, status and scores equal the last one's is not repeated.

        `notebook` is the digest of the clean notebook that was graded.
        """
        last = self.last(student, result.assignment)
        new = {task.task: task.score for task in result.tasks}
        old = last["new"] if last else {}
        if last and (last["key"], last["status"], old) == (result.key, result.status, new):
            return
        event = {
            "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "student": student,
            "assignment": result.assignment,
            "key": result.key,
            "notebook": notebook,
            "status": result.status,
            "why": result.reason,
            "old": old,
            "new": new,
            "reason": reason,
        }
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._remember(event)

    def _remember(self, event: dict[str, Any]) -> None:
        whose = event["student"], event["assignment"]
        self._last[whose] = event
        if event["status"] == GRADED:
            self._standing[whose] = event
