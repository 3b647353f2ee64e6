"""When something was handed in, whether that was late, and what it costs.

The time comes from the LMS with its zone. Without one it is unknown, and unknown is never "on time".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..course import Assignment, HandingIn

ON_TIME, LATE, UNKNOWN, NO_DUE_DATE = "on time", "late", "unknown", "no due date"
DAY = 86_400


@dataclass(frozen=True)
class Timing:
    """Whether a submission was late, and by how much; seconds_late is 0 within the grace."""

    status: str
    seconds_late: float = 0.0

    @property
    def text(self) -> str:
        """The status as a table shows it."""
        return f"late by {duration(self.seconds_late)}" if self.status == LATE else self.status


def timing(
    submitted_at: datetime | None,
    assignment: Assignment,
    rules: HandingIn,
    extension: timedelta | None = None,
) -> Timing:
    """A time (with its zone) against the due date, extension and grace of an assignment."""
    if assignment.due is None:
        return Timing(NO_DUE_DATE)
    if submitted_at is None:
        return Timing(UNKNOWN)
    due = datetime.fromisoformat(assignment.due) + (extension or timedelta())
    seconds = (submitted_at - due).total_seconds()
    if seconds <= 60 * rules.grace_minutes:
        return Timing(ON_TIME)
    return Timing(LATE, seconds)


def penalty(seconds_late: float, points: float, rules: HandingIn) -> float:
    """Points that lateness takes off: a share of the points possible for each day that has begun.

    seconds_late counts from the due date, extension included; within the grace nothing is taken.
    """
    if seconds_late <= 60 * rules.grace_minutes:
        return 0.0
    days = math.ceil(seconds_late / DAY)
    return round(points * min(rules.late_max, rules.late_penalty_per_day * days), 6)


def duration(seconds: float) -> str:
    """`2 d 3 h`, `45 min`: the two largest units that matter."""
    minutes = math.ceil(seconds / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days} d" * bool(days), f"{hours} h" * bool(hours), f"{minutes} min"]
    if days:
        parts = parts[:2]
    return " ".join(part for part in parts if part and not part.startswith("0 ")) or "under 1 min"
