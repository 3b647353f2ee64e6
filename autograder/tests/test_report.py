"""The class report counts rightly, flags what deserves it, and names nobody."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from autograder.cli import main
from autograder.course import CourseError
from autograder.report import histogram, items, write_report
from autograder.report.evidence import Entry, codes_for, gather, without_names
from autograder.results import Result, Store
from autograder.standings import INCOMPLETE, MISSING
from autograder.terminal import DONE
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_class import COPIED, MadeUpClass
from toy_course import hand_in

CLASS = {
    "ada_lovelace": ("right", "right", COPIED),
    "bob_builder": ("sum", "right", COPIED.replace("value", "number").replace("rows", "lines")),
    "cy_young": ("positive", "right", ""),
    "dee_dee": ("positive", "offset", ""),
    "eve_online": ("raises", "nothing", ""),
    "fay_wray": ("blank", "blank", ""),
    "gus_grissom": ("right", "other", ""),
}


@pytest.fixture(scope="module")
def klass(tmp_path_factory):
    made = MadeUpClass(tmp_path_factory.mktemp("report"))
    for index, (student, (double, shift, extra)) in enumerate(CLASS.items()):
        written = "Because it is so." if index < 2 else ""
        made.add(student, double, shift, extra, written, seconds=1.0 + index)
    hand_in(made.folder.root, "hal_nine", b"{ this is no notebook")
    made.grade()
    return made


@pytest.fixture(scope="module")
def evidence(klass):
    return gather(klass.folder, klass.course, klass.assignment)


@pytest.fixture
def page(klass):
    (path,) = write_report(klass.folder, klass.course, klass.assignment)
    return path.read_text()


def test_outcomes_are_counted_by_task(evidence):
    double, shift = items.task_items(evidence)
    assert (double.full, double.partly, double.nothing, double.blank) == (3, 2, 1, 1)
    assert (shift.full, shift.partly, shift.nothing, shift.blank) == (4, 1, 1, 1)
    assert double.mean == pytest.approx((3 * 2 + 2 * 1) / 7)


def test_discrimination_is_the_correlation_with_the_other_tasks(evidence):
    double, shift = items.task_items(evidence)
    left = [2, 2, 1, 1, 0, 0, 2]
    right = [3, 3, 3, 0, 2, 0, 3]
    n, mean = len(left), lambda v: sum(v) / len(v)
    covariance = sum((a - mean(left)) * (b - mean(right)) for a, b in zip(left, right, strict=True))
    spread = [math.sqrt(sum((a - mean(v)) ** 2 for a in v)) for v in (left, right)]
    assert n == double.count
    assert double.discrimination == pytest.approx(covariance / spread[0] / spread[1])
    assert shift.discrimination == pytest.approx(double.discrimination)


def test_tests_count_over_those_who_attempted_the_task(evidence):
    found = {item.name: item for item in items.test_items(evidence)}
    negative = found["test_doubles_a_negative_number"]
    assert (negative.passed, negative.count) == (3, 6)
    assert found["test_shifts_by_both"].passed == 5


def test_misconceptions_come_by_frequency_and_leave_out_crashes_and_blanks(evidence):
    found = [(m.hint, m.count) for m in items.misconceptions(evidence)]
    assert found == [
        ("Negative numbers double too.", 2),
        ("A shift by nothing still moves by OFFSET.", 2),
        ("The course's OFFSET belongs to every shift.", 1),
    ]
    assert items.causes(evidence) == [("double", "it raised KeyError", 1)]


def test_times_are_told_by_task(evidence, page):
    double, shift = items.task_times(evidence)
    assert (double.task, shift.task, double.count) == ("double", "shift", 7)
    assert (double.cells.median, double.cells.most) == (4.0, 7.0)
    assert double.tests.most == pytest.approx(0.7)
    assert 6 < double.cells.ninetieth < 7
    assert 'aria-label="CPU seconds by task"' in page
    assert "graded before times were recorded" not in page


def test_results_of_older_graders_have_no_times_and_count_in_all_else(evidence):
    entries = [
        replace(entry, result=without_times(entry.result)) if index else entry
        for index, entry in enumerate(evidence.graded)
    ]
    older = replace(evidence, entries=entries)
    assert [item.count for item in items.task_times(older)] == [1, 1]
    assert items.task_items(older) == items.task_items(evidence)
    untimed = replace(evidence, entries=entries[1:])
    assert items.task_times(untimed) == []
    raw = json.loads(evidence.graded[0].result.to_json())
    for task in raw["tasks"]:
        del task["cell_seconds"], task["test_seconds"]
    read = Result.from_json(json.dumps(raw))
    assert read == evidence.graded[0].result  # times are no part of what a result is
    assert read.tasks[0].cell_seconds is None


def without_times(result):
    tasks = [replace(task, cell_seconds=None, test_seconds=None) for task in result.tasks]
    return replace(result, tasks=tuple(tasks))


def test_the_page_names_nobody(page, klass):
    for student in (*CLASS, "hal_nine"):
        for part in (student, *student.split("_")):
            assert not re.search(rf"\b{part}\b", page), part


def test_the_page_runs_and_loads_nothing(page):
    assert "default-src 'none'" in page
    for forbidden in ("<script", "src=", "http:", "https:", "url(", "@import", "onclick"):
        assert forbidden not in page


class Outline(HTMLParser):
    """Headings, table headers, ids and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.ids, self.links, self.bare = [], [], [], []
        self.in_head_row = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found["href"])
        if tag == "th" and "scope" not in found:
            self.bare.append(self.getpos())
        if found.get("role") in ("img", "region") and not found.get("aria-label"):
            self.bare.append(self.getpos())


def test_the_page_can_be_read_by_ear(page):
    outline = Outline(page)
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    steps = [b - a for a, b in pairwise(outline.headings)]
    assert max(steps) <= 1
    assert outline.bare == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert '<html lang="en">' in page
    assert "submissions by points: 1 at 0" in page


def test_the_ungraded_are_listed_with_the_reason(page, evidence):
    (entry,) = evidence.ungraded
    assert entry.standing.student == "hal_nine"
    assert "JSON cannot be read" in page
    assert f"<code>{entry.code}</code>" in page


def test_a_submission_that_waits_for_a_reader_has_no_final_score(page, evidence):
    waiting = [e.standing for e in evidence.entries if e.standing.status == INCOMPLETE]
    assert {standing.student for standing in waiting} == {"ada_lovelace", "bob_builder"}
    assert all(standing.final is None and standing.raw is None for standing in waiting)
    assert "“Incomplete” waits for a person" in page
    assert "5 submissions.</p>" in page.split("Final scores, with")[1]


def test_names_and_pairs_are_files_of_their_own_on_request(klass):
    target = klass.folder.root / "reports" / "01_toy"
    write_report(klass.folder, klass.course, klass.assignment, names=True, similarity=True)
    with (target / "names.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["student"] for row in rows} == {*CLASS, "hal_nine"}
    codes = {row["student"]: row["code"] for row in rows}
    pairs = (target / "similarity.html").read_text()
    assert f"{codes['ada_lovelace']} (ada_lovelace)" in pairs
    assert "bob_builder" in pairs
    assert "cy_young" not in pairs
    assert (target / "names.csv").stat().st_mode & 0o077 == 0
    write_report(klass.folder, klass.course, klass.assignment, similarity=True)
    assert not (target / "names.csv").exists()
    anonymous = (target / "similarity.html").read_text()
    assert codes["ada_lovelace"] in anonymous
    assert "ada_lovelace" not in anonymous
    write_report(klass.folder, klass.course, klass.assignment)
    assert {path.name for path in target.iterdir()} == {"report.html"}


def test_the_command_prints_the_files(klass, capsys):
    course = ["--course", str(klass.folder.root)]
    assert main(["report", "01_toy", *course, "--similarity"]) == DONE
    out = capsys.readouterr().out.split()
    assert [path.rsplit("/", 1)[1] for path in out] == ["report.html", "similarity.html"]


def test_a_test_that_changed_its_mind_on_an_equal_notebook_is_flagged(klass):
    store = Store(klass.folder.results)
    event = next(e for e in map(json.loads, klass.folder.ledger.read_text().splitlines()))
    result = store.get(event["key"])
    task = result.tasks[0]
    turned = replace(task.tests[1], passed=not task.tests[1].passed)
    other = replace(
        result,
        key="f" * 40,
        tasks=(replace(task, tests=(task.tests[0], turned)), *result.tasks[1:]),
    )
    store.put(other)
    try:
        found = gather(klass.folder, klass.course, klass.assignment)
        assert items.unsteady(found) == {("double", turned.name): 1}
        flags = items.flags(found, [], [])
        assert "different outcomes on an equal notebook" in flags[0].reason
        changed = dict(result.record["environment"], hidden_tests="other tests")
        store.put(replace(other, record={"environment": changed}))
        found = gather(klass.folder, klass.course, klass.assignment)
        assert items.unsteady(found) == {}
    finally:
        store.path(other.key).unlink()


def test_items_that_all_or_none_pass_or_that_weak_students_pass_are_flagged(evidence):
    def task(name, full, discrimination):
        return items.TaskItem(name, 1.0, 9, full, 9 - full, 0, 0, 0.5, discrimination)

    found = items.flags(
        replace(evidence, stored=[], events=[]),
        [task("a", 9, None), task("b", 0, None), task("c", 5, 0.05), task("d", 5, -0.2)],
        [items.TestItem("d", "t", "", 9, 9, None), items.TestItem("d", "u", "", 9, 4, 0.6)],
    )
    assert [(flag.task, flag.test) for flag in found] == [
        ("a", ""),
        ("b", ""),
        ("c", ""),
        ("d", ""),
        ("d", "t"),
    ]


def test_a_class_with_nothing_handed_in_is_told_what_to_do(tmp_path):
    made = MadeUpClass(tmp_path)
    with pytest.raises(CourseError, match="autograder grade 01_toy"):
        write_report(made.folder, made.course, made.assignment)


def test_codes_stay_the_same_and_need_the_secret():
    small = codes_for(["ada", "bob"], b"secret")
    large = codes_for(["bob", "ada", *(f"s{index}" for index in range(40))], b"secret")
    assert small["ada"] == large["ada"][:4]
    assert codes_for(["ada"], b"other")["ada"] != small["ada"]


def test_reasons_lose_names_and_file_names():
    text = (
        "Several notebooks could be the submission (Ada (1).ipynb, hw by ada.ipynb). Hand in one."
    )
    assert without_names(text, []) == "Several notebooks could be the submission (…). Hand in one."
    for text, shown in (
        (
            "The zip file Ada's own work.zip is not read (in my ada/01 (1).ipynb: it is too large). "
            "Hand in the notebook file itself.",
            "The zip file … is not read (in …: it is too large). Hand in the notebook file itself.",
        ),
        ("Ada's (2) work.ipynb is not read: it is too large.", "… is not read: it is too large."),
        ("The file is not a notebook. Download it again.", "=="),
    ):
        assert without_names(text, []) == (text if shown == "==" else shown)
    assert "ada" not in without_names("nbgrader could not record ada_l: Ada Lovelace", ["ada_l"])
    assert without_names("Ada Lovelace gave up", ["Ada Lovelace"]) == "… gave up"


@settings(deadline=None)
@given(st.lists(st.floats(0, 37), min_size=1, max_size=50), st.sampled_from([5, 15, 20, 37]))
def test_every_score_is_in_one_bar(scores, most):
    inside = [min(score, most) for score in scores]
    bars = histogram(inside, most)
    assert sum(count for _, count in bars) == len(scores)
    assert len(bars) <= 17
    assert bars[-1][0] == str(most)
    assert bars[-1][1] == sum(score >= most - 1e-9 for score in inside)


def test_entries_without_a_submission_are_not_handed_in(evidence):
    absent = Entry("zzzz", replace(evidence.entries[0].standing, status=MISSING))
    grown = replace(evidence, entries=[*evidence.entries, absent])
    assert len(grown.handed_in) == len(evidence.entries)
