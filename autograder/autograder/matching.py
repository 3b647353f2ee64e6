"""Which submitted cell is which release cell: by marker, then cell id, then source, then likeness."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from nbformat import NotebookNode

from . import cells
from .cells import Slot

#: Two sources at least this alike (difflib ratio) are taken for one cell, edited.
LIKENESS = 0.6
#: Likeness is judged on this many characters, so that a huge cell cannot stall intake.
LIKENESS_CHARACTERS = 4000


@dataclass
class Match:
    """Submitted cells by the release slot they fill, and what is left over."""

    by_slot: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    dropped: set[int] = field(default_factory=set)

    def slot_of(self, index: int) -> int | None:
        """The slot that submitted cell `index` fills, if any."""
        for slot, indices in self.by_slot.items():
            if index in indices:
                return slot
        return None

    def matched(self) -> set[int]:
        """Indices of submitted cells that fill some slot."""
        return {index for indices in self.by_slot.values() for index in indices}


def match_cells(assignment_id: str, slots: list[Slot], submitted: list[NotebookNode]) -> Match:
    """Match submitted cells to release slots; score cells are dropped, they come from the release."""
    match = Match()
    by_task = {slot.task: slot for slot in slots if slot.role in (cells.ANSWER, cells.WRITTEN)}
    score_slots = [slot for slot in slots if slot.role == cells.SCORE]
    for index, cell in enumerate(submitted):
        if _is_score_cell(cell, score_slots):
            match.dropped.add(index)
    for step in (_by_marker, _by_id, _by_source, _by_definition, _by_likeness):
        taken = match.matched() | match.dropped
        free = [index for index in range(len(submitted)) if index not in taken]
        step(assignment_id, slots, by_task, submitted, free, match)
    return match


def _is_score_cell(cell: NotebookNode, score_slots: list[Slot]) -> bool:
    if cells.marker(cell.source, cells.SCORE_MARKER):
        return not cells.marker(cell.source, cells.ANSWER_MARKER)
    ids = {slot.cell.get("id") for slot in score_slots}
    return cell.get("id") in ids and not cells.marker(cell.source, cells.ANSWER_MARKER)


def _by_marker(assignment_id, slots, by_task, submitted, free, match: Match) -> None:
    for index in free:
        for pattern in (cells.ANSWER_MARKER, cells.WRITTEN_MARKER):
            found = cells.marker(submitted[index].source, pattern)
            if found and found[0] == assignment_id and found[1] in by_task:
                match.by_slot[by_task[found[1]].index].append(index)
                break


def _by_id(assignment_id, slots, by_task, submitted, free, match: Match) -> None:
    ids = {slot.cell.get("id"): slot for slot in slots if slot.role != cells.SCORE}
    grade_ids = {
        slot.cell.metadata.get("nbgrader", {}).get("grade_id"): slot
        for slot in slots
        if slot.role in (cells.ANSWER, cells.WRITTEN)
    }
    for index in free:
        cell = submitted[index]
        metadata = cell.metadata.get("nbgrader")
        grade_id = metadata.get("grade_id") if isinstance(metadata, dict) else None
        slot = ids.get(cell.get("id")) or (
            grade_ids.get(grade_id) if isinstance(grade_id, str) else None
        )
        # A slot that a marker has filled is not filled again by a lesser sign.
        if slot is not None and not match.by_slot.get(slot.index) and cell.source.strip():
            match.by_slot[slot.index].append(index)


def _by_source(assignment_id, slots, by_task, submitted, free, match: Match) -> None:
    open_slots: dict[str, list[int]] = defaultdict(list)
    for slot in slots:
        if slot.role != cells.SCORE and not match.by_slot.get(slot.index):
            open_slots[normalised(slot.cell.source)].append(slot.index)
    for index in free:
        candidates = open_slots.get(normalised(submitted[index].source))
        if candidates:
            match.by_slot[candidates.pop(0)].append(index)


def _by_definition(assignment_id, slots, by_task, submitted, free, match: Match) -> None:
    """An answer cell that lost marker, id and metadata still defines the function it is named for."""
    for task, slot in by_task.items():
        if slot.role != cells.ANSWER or match.by_slot.get(slot.index):
            continue
        defining = [
            index for index in free if f"def {task}(" in submitted[index].source.replace("\t", " ")
        ]
        if defining:
            match.by_slot[slot.index].append(defining[-1])


def _by_likeness(assignment_id, slots, by_task, submitted, free, match: Match) -> None:
    """Edited cells: the most alike pair first, each slot and each cell once."""
    taken = match.matched()
    open_slots = [
        slot for slot in slots if slot.role != cells.SCORE and not match.by_slot.get(slot.index)
    ]
    pairs = []
    for index in free:
        source = submitted[index].source
        if index in taken or not source.strip():
            continue
        for slot in open_slots:
            ratio = _likeness(source, slot.cell.source)
            if ratio >= LIKENESS:
                distance = abs(index - slot.index)
                pairs.append((-ratio, distance, index, slot.index))
    used_cells: set[int] = set()
    for _, _, index, slot_index in sorted(pairs):
        if index not in used_cells and not match.by_slot.get(slot_index):
            match.by_slot[slot_index].append(index)
            used_cells.add(index)


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
