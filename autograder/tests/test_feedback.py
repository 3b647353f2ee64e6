"""What a student reads: the task, the points, the misconception, and where to look; nothing hidden."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from autograder.grading.feedback import BLANK, common_cause, notes_cell, task_html, task_text
from autograder.results import GRADED, Result, TaskResult, TestResult
from made_up_class import MadeUpClass
from nbconvert.filters import markdown2html
from nbgrader.api import Gradebook

HOSTILE = "it raised KeyError at line 3: x[`<img src=x onerror=steal()>`](javascript:steal()) **b**"


class Page(HTMLParser):
    """Ids, links and headings of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.headings, self.tags, self.text = [], [], [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" and "href" in found else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []

    def handle_data(self, data):
        self.text += data


COMMENT = "Too short.\n\nRead *Part 2* again.<script>steal()</script>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    made = MadeUpClass(tmp_path_factory.mktemp("feedback"))
    made.add("half", "positive", "nothing", written="My words.")
    made.add("none", "blank", "blank")
    made.add("raiser", "raises", "right", written="My words.")
    made.grade()
    with Gradebook(made.folder.database, made.course.id) as gradebook:
        read = gradebook.find_grade("written", "01_toy", "01_toy", "raiser")
        read.manual_score, read.needs_manual_grade = 0.0, False
        gradebook.find_comment("written", "01_toy", "01_toy", "raiser").manual_comment = COMMENT
        gradebook.db.commit()
    from autograder.grading.record import Recorder

    recorder = Recorder(made.folder, "01_toy")
    recorder.write_page("raiser")
    return {name: recorder.feedback_page(name).read_text() for name in ("half", "none", "raiser")}


def task(*details: str, note: str = "", score: float = 0.0) -> TaskResult:
    tests = tuple(
        TestResult(f"test_{i}", 1, False, f"Hint `{i}`.", detail)
        for i, detail in enumerate(details)
    )
    return TaskResult("double", 2.0, score, tests, note)


def test_a_lost_point_comes_with_task_points_misconception_and_place(pages):
    page = Page(pages["half"])
    text = re.sub(r"\s+", " ", page.text)
    assert "double, 1 of 2 points (your answer): Negative numbers double too." in text
    assert "shift, 2 of 3 points (your answer): A shift by nothing still moves by OFFSET." in text
    assert {"#double", "#shift", "#double_score"} <= set(page.links)


def test_every_link_of_a_page_leads_somewhere_on_it(pages):
    for text in pages.values():
        page = Page(text)
        inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
        assert inside
        assert inside <= set(page.ids)


def test_who_wrote_nothing_is_told_so_and_not_what_they_misunderstood(pages):
    text = Page(pages["none"]).text
    assert text.count(BLANK) == 4
    assert "Negative numbers" not in text
    assert "0 of 1 (nothing written)" in text
    assert "No response" not in text
    assert "¶" not in text


def test_one_reason_for_a_whole_task_is_said_once_and_without_hints(pages):
    text = Page(pages["raiser"]).text
    assert "it raised KeyError at line 3: raise KeyError(x)" in text
    assert "Doubling adds" not in text


def test_a_zero_given_by_hand_with_a_comment_is_shown_as_one(pages):
    text = re.sub(r"\s+", " ", Page(pages["raiser"]).text)
    assert "0 of 1" in text
    assert "Too short." in text
    assert "to be read by a person" not in text
    assert "to be read by a person, of 1" in Page(pages["half"]).text


def test_a_comment_is_shown_as_prose(pages):
    page = Page(pages["raiser"])
    assert "Comment: Too short. Read Part 2 again." in re.sub(r"\s+", " ", page.text)
    assert "em" in page.tags
    assert "script" not in page.tags
    for text in pages.values():
        assert "<p>" not in Page(text).text


def test_headings_go_down_one_at_a_time(pages):
    for text in pages.values():
        headings = Page(text).headings
        assert headings[0] == 1
        assert max(b - a for a, b in pairwise(headings)) <= 1


def test_a_students_own_line_is_inert_in_the_notes():
    named = "<b>x</b> [y](https://example.org).ipynb was taken for 01_toy.ipynb."
    result = Result("k", "a", GRADED, tasks=(task(HOSTILE, HOSTILE),), repairs=(named,))
    page = Page(markdown2html(notes_cell(result).source))
    assert [link for link in page.links if not link.startswith("#What-")] == []
    assert not page.tags & {"img", "script", "b"}
    assert named in page.text
    assert "x[`<img src=x onerror=steal()>`](javascript:steal()) **b**" in page.text


def test_a_common_cause_is_one_reason_for_every_test():
    assert common_cause(task("no answer", "no answer")) == "no answer"
    assert (
        common_cause(task("it raised A at line 1: a", "it raised A at line 2: b")) == "it raised A"
    )
    assert common_cause(task("it raised A at line 1: a", "it raised B at line 2: b")) is None
    assert common_cause(task("", "")) is None
    assert common_cause(task("crashed", "")) is None
    assert common_cause(task(note="Not tested: it ended.")) == "Not tested: it ended."


def test_hints_stand_beside_the_tests_that_gave_them():
    html = task_html(task("", "it raised A at line 1: a"))
    assert "Hint <code>0</code>." in html
    assert "Hint <code>1</code>." in html
    assert "<code>it raised A at line 1: a</code>" in html
    assert "Hint" not in task_html(task("crashed", "crashed"))
    assert "Hint `0`." in task_text(task("", ""))
    assert task_text(task("crashed", "crashed")).splitlines()[1] == "crashed"
    assert "<li>" not in task_html(task("crashed", "crashed"), blank=True)
