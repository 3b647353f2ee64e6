"""`autograder report`: what the instructor sees of a class, as one self-contained page.

Anonymous by default: people appear under codes. Who a code is, and which submissions are alike,
are files of their own, written on request.
"""

from __future__ import annotations

import csv
import os
import re
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from .. import TEMPLATES, cells
from ..course import Assignment, Course, CourseFolder
from ..exports.cellguard import guarded
from ..grading.feedback import points_text
from ..results import Result, write_whole
from ..standings import COMPLETE, INCOMPLETE, MISSING, UNGRADED
from . import items
from .evidence import Entry, Evidence, gather
from .similarity import WORTH_A_LOOK, Pair, Source, similar_pairs

REPORTS = "reports"
MAX_BINS = 16
#: Pairs shown with their code side by side; the rest are counted.
MAX_PAIRS = 40
_QUOTED = re.compile(r"`([^`]+)`")


def write_report(
    folder: CourseFolder,
    course: Course,
    assignment: Assignment,
    *,
    names: bool = False,
    similarity: bool = False,
) -> list[Path]:
    """Write the page, and on request `names.csv` and `similarity.html`; returns the files.

    Files of an earlier call that this one does not write are removed, so that a report is anonymous
    unless names were asked for now. Raises CourseError where nothing has been graded.
    """
    evidence = gather(folder, course, assignment)
    pairs = alike(evidence, course)
    target = folder.root / REPORTS / assignment.id
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    pages = {"report.html": render("report.html.j2", **_facts(course, evidence, pairs))}
    if similarity:
        shown = _pair_facts(evidence, pairs[:MAX_PAIRS], names)
        pages["similarity.html"] = render(
            "similarity.html.j2",
            title=f"{assignment.id}: submissions that are alike",
            when=_now(),
            pairs=shown,
            left_out=len(pairs) - len(shown),
            threshold=WORTH_A_LOOK,
        )
    written = []
    for name, text in pages.items():
        write_whole(target / name, text)
        written.append(target / name)
    if names:
        written.append(_write_names(target / "names.csv", evidence))
    for name in ("similarity.html", "names.csv"):
        if target / name not in written:
            (target / name).unlink(missing_ok=True)
    return written


def render(template: str, **facts: Any) -> str:
    """A page from its template; everything put into it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(os.path.join(TEMPLATES, "report")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = points_text
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    environment.filters["width"] = lambda share: f"{100 * share:.1f}%"
    environment.filters["words"] = lambda name: name.removeprefix("test_").replace("_", " ")
    environment.filters["breakable"] = lambda name: escape(name).replace("_", Markup("_<wbr>"))
    environment.filters["prose"] = lambda text: Markup(
        _QUOTED.sub(r"<code>\1</code>", str(escape(text)))
    )
    environment.filters["signed"] = signed
    return environment.get_template(template).render(**facts)


def signed(value: float | None) -> str:
    """A correlation with two decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def alike(evidence: Evidence, course: Course) -> list[Pair]:
    """Pairs of submissions, by code, that share much of their own code."""
    path = course.release_notebook(evidence.assignment.id)
    release = nbformat.read(path, as_version=4)
    library = sorted((course.repository / "lib" / "steerlab").rglob("*.py"))
    public = [cell.source for cell in release.cells if cell.cell_type == "code"]
    public += [source.read_text("utf-8") for source in library]
    sources = {entry.code: own_code(entry.result) for entry in evidence.graded if entry.result}
    return similar_pairs(sources, public)


def own_code(result: Result) -> Source:
    """The code cells of a graded notebook, score cells and installation left out."""
    notebook = nbformat.reads(result.notebook, as_version=4)
    skipped = (cells.SCORE, cells.INSTALL)
    return Source(
        tuple(
            cell.source
            for cell in notebook.cells
            if cell.cell_type == "code" and cells.role(cell) not in skipped
        )
    )


def _facts(course: Course, evidence: Evidence, pairs: list[Pair]) -> dict[str, Any]:
    """All that the page shows."""
    assignment = evidence.assignment
    results = [entry.result for entry in evidence.graded if entry.result]
    automatic = [result.score for result in results]
    finals = [e.standing.final for e in evidence.entries if e.standing.final is not None]
    statuses = [entry.standing.status for entry in evidence.entries]
    tasks, tests = items.task_items(evidence), items.test_items(evidence)
    return {
        "title": f"{assignment.id}: class report",
        "course": course.title,
        "assignment": assignment,
        "when": _now(),
        "counts": {
            "handed in": len(evidence.handed_in),
            "graded": len(results),
            "final": statuses.count(COMPLETE),
            "incomplete": statuses.count(INCOMPLETE),
            "ungraded": statuses.count(UNGRADED),
            "missing": statuses.count(MISSING),
        },
        "automatic": _spread(automatic, assignment.automatic_points),
        "finals": _spread(finals, assignment.total_points),
        "penalised": sum(entry.standing.penalty > 0 for entry in evidence.entries),
        "older": evidence.older,
        "unread": sum(
            e.result is None and e.standing.status in (COMPLETE, INCOMPLETE)
            for e in evidence.entries
        ),
        "tasks": tasks,
        "tests": tests,
        "misconceptions": items.misconceptions(evidence),
        "causes": items.causes(evidence),
        "flags": items.flags(evidence, tasks, tests),
        "few": len(results) < items.FEW,
        "noise": 2 / max(1, len(results) - 1) ** 0.5,
        "low": items.LOW,
        "ungraded": evidence.ungraded,
        "times": items.times(evidence),
        "pairs": pairs,
        "people_alike": len({code for pair in pairs for code in (pair.left, pair.right)}),
        "threshold": WORTH_A_LOOK,
    }


def _spread(scores: list[float], most: float) -> dict[str, Any] | None:
    """Middle, mean, spread and histogram of scores between 0 and `most`; None without scores."""
    if not scores:
        return None
    bins = histogram(scores, most)
    return {
        "count": len(scores),
        "most": most,
        "mean": statistics.fmean(scores),
        "median": statistics.median(scores),
        "deviation": statistics.stdev(scores) if len(scores) > 1 else 0.0,
        "lowest": min(scores),
        "highest": max(scores),
        "bins": bins,
        "tallest": max(count for _, count in bins),
        "alt": ", ".join(f"{count} at {label}" for label, count in bins if count),
    }


def histogram(scores: list[float], most: float) -> list[tuple[str, int]]:
    """Counts by points, as `(label, count)`: whole points where they fit, else wider steps.

    A step reaches from its label up to the next one; full marks have a bar of their own.
    """
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 10**6) if most / s < MAX_BINS)
    edges: list[float] = [step * index for index in range(int(most / step) + 1)]
    if most - edges[-1] > 1e-9:
        edges.append(most)
    counts = [0] * len(edges)
    for score in scores:
        counts[max(i for i, edge in enumerate(edges) if i == 0 or edge <= score + 1e-9)] += 1
    return [(points_text(edge), count) for edge, count in zip(edges, counts, strict=True)]


def _pair_facts(evidence: Evidence, pairs: list[Pair], names: bool) -> list[dict[str, Any]]:
    by_code = {entry.code: entry for entry in evidence.graded}
    facts = []
    for pair in pairs:
        sides = []
        for code, lines in ((pair.left, pair.left_lines), (pair.right, pair.right_lines)):
            entry = by_code[code]
            name = f"{code} ({entry.standing.student})" if names else code
            sides.append({"name": name, "code": _marked(entry, lines)})
        facts.append({"pair": pair, "sides": sides})
    return facts


def _marked(entry: Entry, lines: frozenset[tuple[int, int]]) -> list[list[tuple[bool, str]]]:
    """The cells that hold shared lines, as lists of `(shared, line)`."""
    assert entry.result is not None
    source = own_code(entry.result)
    return [
        [((index, row) in lines, line) for row, line in enumerate(text.splitlines())]
        for index, text in enumerate(source.cells)
        if any(cell == index for cell, _ in lines)
    ]


def _write_names(path: Path, evidence: Evidence) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["code", "student", "name", "email"])
        for entry in evidence.entries:
            person = entry.standing.person
            named = [person.name, person.email] if person else ["", ""]
            writer.writerow(
                [guarded(text) for text in (entry.code, entry.standing.student, *named)]
            )
    return path


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
