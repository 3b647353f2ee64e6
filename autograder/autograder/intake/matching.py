"""Which submitted cell is which release cell: by marker, then cell id, then source, then likeness."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from nbformat import NotebookNode

from .. import cells
from ..cells import Slot
from .python_source import definition, same_code

#: Two sources at least this alike (difflib ratio) are taken for one cell, edited.
LIKENESS = 0.6
#: Likeness is judged on this many characters, so that a huge cell cannot stall intake.
LIKENESS_CHARACTERS = 2000
#: And for this many cells, of those that nothing else has placed.
LIKENESS_CELLS = 100


@dataclass
class Match:
    """Submitted cells by the release slot they fill, and what is left over.

    unmarked: cells that were recognised by the function they define alone.
    """

    by_slot: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    dropped: set[int] = field(default_factory=set)
    unmarked: set[int] = field(default_factory=set)

    def matched(self) -> set[int]:
        """Indices of submitted cells that fill some slot."""
        return {index for indices in self.by_slot.values() for index in indices}


def match_cells(assignment_id: str, slots: list[Slot], submitted: list[NotebookNode]) -> Match:
    """Match submitted cells to release slots; score cells are dropped, they come from the release."""
    matcher = _Matcher(assignment_id, slots, submitted)
    for step in (
        matcher.drop_score_cells,
        matcher.by_marker,
        matcher.by_id,
        matcher.by_source,
        matcher.by_definition,
        matcher.by_likeness,
        matcher.drop_copies,
    ):
        step(matcher.free())
    return matcher.match


class _Matcher:
    """The steps of matching, each looking only at cells that no earlier step has placed."""

    def __init__(
        self, assignment_id: str, slots: list[Slot], submitted: list[NotebookNode]
    ) -> None:
        self.assignment_id, self.slots, self.submitted = assignment_id, slots, submitted
        self.by_task = {s.task: s for s in slots if s.role in (cells.ANSWER, cells.WRITTEN)}
        self.match = Match()

    def free(self) -> list[int]:
        """Submitted cells that have no place yet."""
        taken = self.match.matched() | self.match.dropped
        return [index for index in range(len(self.submitted)) if index not in taken]

    def open_slots(self) -> list[Slot]:
        """Release slots, score cells aside, that nothing fills yet."""
        return [s for s in self.slots if s.role != cells.SCORE and not self.filled(s)]

    def filled(self, slot: Slot) -> bool:
        """Whether some submitted cell has this slot."""
        return bool(self.match.by_slot.get(slot.index))

    def drop_score_cells(self, free: list[int]) -> None:
        """Score cells come from the release, whatever was handed in."""
        ids = {slot.cell.get("id") for slot in self.slots if slot.role == cells.SCORE}
        for index in free:
            cell = self.submitted[index]
            if cells.marker(cell.source, cells.ANSWER_MARKER):
                continue
            if cells.marker(cell.source, cells.SCORE_MARKER) or cell.get("id") in ids:
                self.match.dropped.add(index)

    def by_marker(self, free: list[int]) -> None:
        """`# graded: …` names the task, in as many cells as it stands in."""
        for index in free:
            for pattern in (cells.ANSWER_MARKER, cells.WRITTEN_MARKER):
                found = cells.marker(self.submitted[index].source, pattern)
                if found and found[0] == self.assignment_id and found[1] in self.by_task:
                    self.match.by_slot[self.by_task[found[1]].index].append(index)
                    break

    def by_id(self, free: list[int]) -> None:
        """The cell's id, or nbgrader's, for slots that no marker has filled."""
        ids = {slot.cell.get("id"): slot for slot in self.slots if slot.role != cells.SCORE}
        grade_ids = {
            slot.cell.metadata.get("nbgrader", {}).get("grade_id"): slot
            for slot in self.by_task.values()
        }
        for index in free:
            cell = self.submitted[index]
            metadata = cell.metadata.get("nbgrader")
            grade_id = metadata.get("grade_id") if isinstance(metadata, dict) else None
            named = grade_ids.get(grade_id) if isinstance(grade_id, str) else None
            slot = ids.get(cell.get("id")) or named
            if slot is not None and not self.filled(slot) and cell.source.strip():
                self.match.by_slot[slot.index].append(index)

    def by_source(self, free: list[int]) -> None:
        """Cells that nobody has edited."""
        waiting: dict[str, list[int]] = defaultdict(list)
        for slot in self.open_slots():
            waiting[normalised(slot.cell.source)].append(slot.index)
        for index in free:
            if candidates := waiting.get(normalised(self.submitted[index].source)):
                self.match.by_slot[candidates.pop(0)].append(index)

    def by_definition(self, free: list[int]) -> None:
        """An answer without its marker still defines the function that its task is named for.

        Also where the marked cell is there and was left as it came: some write in a cell below it.
        """
        for task, slot in self.by_task.items():
            found = self.match.by_slot.get(slot.index, [])
            answered = any(not unanswered(self.submitted[i].source, slot) for i in found)
            if slot.role != cells.ANSWER or answered:
                continue
            defining = [
                i for i in free if definition(self.submitted[i].source, str(task)) is not None
            ]
            if defining:
                self.match.by_slot[slot.index].append(defining[-1])
                self.match.unmarked.add(defining[-1])

    def by_likeness(self, free: list[int]) -> None:
        """Edited cells: the most alike pair first, each slot and each cell once."""
        pairs = []
        for index in free[:LIKENESS_CELLS]:
            source = self.submitted[index].source
            for slot in self.open_slots() if source.strip() else []:
                ratio = _likeness(source, slot.cell.source)
                if ratio >= LIKENESS:
                    pairs.append((-ratio, abs(index - slot.index), index, slot))
        used: set[int] = set()
        for _, _, index, slot in sorted(pairs, key=lambda pair: pair[:3]):
            if index not in used and not self.filled(slot):
                self.match.by_slot[slot.index].append(index)
                used.add(index)

    def drop_copies(self, free: list[int]) -> None:
        """Second copies of texts and demonstrations, as they came: a copy adds nothing but time."""
        known = {
            normalised(slot.cell.source)
            for slot in self.slots
            if slot.cell.cell_type != "code" or slot.role in (cells.EXPLORE, cells.INSTALL)
        }
        self.match.dropped |= {i for i in free if normalised(self.submitted[i].source) in known}


def unanswered(source: str, slot: Slot) -> bool:
    """Whether a submitted answer is still what the release has, comments and docstring aside."""
    if normalised(source) == normalised(slot.cell.source):
        return True
    return slot.role == cells.ANSWER and same_code(source, slot.cell.source)


def _likeness(left: str, right: str) -> float:
    matcher = SequenceMatcher(
        None, left[:LIKENESS_CHARACTERS], right[:LIKENESS_CHARACTERS], autojunk=False
    )
    if matcher.real_quick_ratio() < LIKENESS or matcher.quick_ratio() < LIKENESS:
        return 0.0
    return matcher.ratio()


def normalised(source: str) -> str:
    """Source without trailing blanks and outer empty lines: equal for what looks equal."""
    return "\n".join(line.rstrip() for line in source.strip().splitlines())
