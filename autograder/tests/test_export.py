"""Scores reach the LMS's own file and no other cell of it changes; what is no number stays none."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from dataclasses import replace

import pytest
from autograder.cli import main
from autograder.course import CourseError
from autograder.exports.canvas import fill_canvas
from autograder.exports.cellguard import STARTS, csv_text, guarded
from autograder.exports.feedback_zip import feedback_zip, renew_pages
from autograder.exports.moodle import fill_moodle
from autograder.exports.sheet import Sheet
from autograder.exports.tables import gradescope_table, plain_table, split_name
from autograder.standings import COMPLETE, INCOMPLETE, MISSING, UNGRADED, standings
from autograder.terminal import DONE, MEND_FIRST
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_class import MadeUpClass
from nbgrader.api import Gradebook
from toy_course import hand_in

ROSTER = """\
id,name,email,lms_id,section,group,extension_hours
ada,Ada Lovelace,ada@example.edu,101,North,,
bob,"Builder, Bob",bob@example.edu,102,South,,
cy,=cmd|' /C calc'!A0,cy@example.edu,103,North,,
dee,Dee Dee,dee@example.edu,104,South,,
eve,Eve Online,eve@example.edu,105,,,
fay,Fay Wray,fay@example.edu,106,,,
"""
CANVAS = (
    "\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,Essay (55),01 toy (66),Final Score\r\n"
    "    Points Possible,,,,,10,6,(read only)\r\n"
    '"Lovelace, Ada",101,u1,ada,North,-3.5,,81.2\r\n'
    '"Builder, Bob",102,u2,bob,South,+4,2,70\r\n'
    "\"=cmd|' /C calc'!A0\",103,u3,cy,North,,,\r\n"
    '"Dee, Dee",104,u4,dee,South,@home,1,\r\n'
    '"Online, Eve",105,u5,eve,South,9,EX,\r\n'
    '"Wray, Fay",106,u6,fay,South,9,,\r\n'
    '"Nobody, Known",999,u9,who,South,9,3,\r\n'
    '"Student, Test",998,,abc,South,,,\r\n'
)
MOODLE = (
    "Identifier,Full name,ID number,Email address,Status,Grade,Maximum Grade,"
    "Grade can be changed,Last modified (submission),Last modified (grade),Feedback comments\n"
    'Participant 9001,Ada Lovelace,101,ada@example.edu,Submitted,,6.00,Yes,"Sunday, 1 March",-,\n'
    "Participant 9002,Bob_Builder/x,102,,Submitted,,6.00,Yes,-,-,- well done\n"
    "Participant 9003,Cy,,cy@EXAMPLE.edu,Submitted,,6.00,No,-,-,\n"
    "Participant 9004,Dee Dee,104,dee@example.edu,Submitted,2.00,6.00,Yes,-,-,\n"
    "Participant 9007,Else,,else@example.edu,No submission,,6.00,Yes,-,-,\n"
)


@pytest.fixture(scope="module")
def klass(tmp_path_factory):
    made = MadeUpClass(tmp_path_factory.mktemp("export"))
    (made.folder.root / "roster.csv").write_text(ROSTER)
    made.add("ada", "right", "right", written="It is read by hand.")
    made.add("bob", "positive", "right")
    made.add("cy", "right", "nothing")
    made.add("dee", "right", "right", written="It waits.")
    hand_in(made.folder.root, "eve", b"{ broken")
    made.grade()
    with Gradebook(made.folder.database, made.course.id) as gradebook:
        read = gradebook.find_grade("written", "01_toy", "01_toy", "ada")
        read.manual_score, read.extra_credit, read.needs_manual_grade = 0.5, 0.25, False
        late = gradebook.find_submission("01_toy", "bob").notebooks[0]
        late.late_submission_penalty = 1.5
        gradebook.db.commit()
    return made


@pytest.fixture(scope="module")
def found(klass):
    return standings(klass.folder, klass.course, klass.assignment)


def rows(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(
        csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter)
    )


def test_standings_tell_final_scores_from_what_is_none(found):
    by = {standing.student: standing for standing in found}
    assert {name: s.status for name, s in by.items()} == {
        "ada": COMPLETE,
        "bob": COMPLETE,
        "cy": COMPLETE,
        "dee": INCOMPLETE,
        "eve": UNGRADED,
        "fay": MISSING,
    }
    assert (by["ada"].raw, by["ada"].penalty, by["ada"].final) == (5.75, 0, 5.75)
    assert (by["bob"].raw, by["bob"].penalty, by["bob"].final) == (4, 1.5, 2.5)
    assert (by["dee"].raw, by["dee"].final) == (None, None)
    assert "written" in by["dee"].why
    assert "JSON cannot be read" in by["eve"].why
    assert by["cy"].person.section == "North"


def test_the_plain_table_keeps_raw_penalty_and_final_apart(klass, found):
    header, *lines = rows(plain_table(klass.assignment, found))
    by = {line[0]: dict(zip(header, line, strict=True)) for line in lines}
    assert (by["bob"]["raw"], by["bob"]["penalty"], by["bob"]["final"]) == ("4", "1.5", "2.5")
    assert (by["ada"]["written"], by["ada"]["automatic"], by["ada"]["maximum"]) == (
        "0.75",
        "5",
        "6",
    )
    assert (by["dee"]["raw"], by["dee"]["final"], by["dee"]["automatic"]) == ("", "incomplete", "5")
    assert (by["eve"]["final"], by["eve"]["automatic"]) == ("ungraded", "")
    assert by["fay"]["final"] == "missing"
    assert by["cy"]["name"] == "'=cmd|' /C calc'!A0"


def test_canvas_reads_its_own_file_back_with_the_scores_in_it(klass, found, tmp_path):
    path = tmp_path / "gradebook.csv"
    path.write_bytes(CANVAS.encode())
    filled = fill_canvas(path, klass.assignment, found)
    assert filled.text.startswith("\ufeffStudent,ID,")
    assert "\r\n" in filled.text
    before, after = rows(CANVAS), rows(filled.text)
    column = before[0].index("01 toy (66)")
    scores = {row[3]: row[column] for row in after[2:]}
    assert scores == {
        "ada": "5.75",
        "bob": "2.5",
        "cy": "4",
        "dee": "1",
        "eve": "EX",
        "fay": "",
        "who": "3",
        "abc": "",
    }
    for old, new in zip(before, after, strict=True):
        for index, (was, now) in enumerate(zip(old, new, strict=True)):
            assert index == column or now == guarded(was)
    assert after[2][5] == "-3.5"
    assert after[3][5] == "+4"
    assert after[5][5] == "'@home"
    assert after[4][0].startswith("'=cmd")
    assert filled.written == ["ada", "bob", "cy"]
    assert any("dee: incomplete" in line and "1 was left" in line for line in filled.left)
    assert any("eve: excused" in line for line in filled.left)


def test_a_second_filling_changes_nothing_more(klass, found, tmp_path):
    path = tmp_path / "gradebook.csv"
    path.write_bytes(CANVAS.encode())
    once = fill_canvas(path, klass.assignment, found).text
    path.write_bytes(once.encode())
    assert fill_canvas(path, klass.assignment, found).text == once


def test_a_semicolon_file_with_decimal_commas_stays_one(klass, found, tmp_path):
    path = tmp_path / "gradebook.csv"
    text = CANVAS.replace(",", ";").replace('"Lovelace; Ada"', "Ada").replace("81.2", "81,2")
    path.write_bytes(text.encode())
    after = rows(fill_canvas(path, klass.assignment, found).text, ";")
    assert after[2][6] == "5,75"
    assert after[2][7] == "81,2"


def test_a_canvas_column_can_be_named_and_is_not_guessed(klass, found, tmp_path):
    path = tmp_path / "gradebook.csv"
    path.write_bytes(CANVAS.replace("01 toy", "Homework one").encode())
    with pytest.raises(CourseError, match=r"--column: Essay, Homework one, Final Score"):
        fill_canvas(path, klass.assignment, found)
    assert fill_canvas(path, klass.assignment, found, "Homework one").written
    with pytest.raises(CourseError, match="read only"):
        fill_canvas(path, klass.assignment, found, "Final Score")
    with pytest.raises(CourseError, match="--scale"):
        fill_canvas(path, klass.assignment, found, "Essay (55)")
    scaled = fill_canvas(path, klass.assignment, found, "Essay", scale=True)
    assert rows(scaled.text)[3][5] == "4.17"


def test_somebody_with_a_score_and_no_row_is_named(klass, found, tmp_path):
    path = tmp_path / "gradebook.csv"
    kept = [line for line in CANVAS.splitlines(keepends=True) if "Lovelace" not in line]
    path.write_bytes("".join(kept).encode())
    left = fill_canvas(path, klass.assignment, found).left
    assert any(line.startswith("ada: has a final score and no row") for line in left)


def test_a_row_that_fits_two_people_is_refused(klass, found, tmp_path):
    path = tmp_path / "gradebook.csv"
    path.write_bytes(CANVAS.replace("101,u1,ada", "101,u1,bob").encode())
    with pytest.raises(CourseError, match=r"line 3 fits several people \(ada, bob\)"):
        fill_canvas(path, klass.assignment, found)


def test_moodle_reads_its_own_worksheet_back_with_the_scores_in_it(klass, found, tmp_path):
    path = tmp_path / "worksheet.csv"
    path.write_text(MOODLE)
    filled = fill_moodle(path, klass.assignment, found)
    before, after = rows(MOODLE), rows(filled.text)
    assert [row[5] for row in after] == ["Grade", "5.75", "2.5", "", "2.00", ""]
    for old, new in zip(before, after, strict=True):
        for index, (was, now) in enumerate(zip(old, new, strict=True)):
            assert index == 5 or now == guarded(was)
    assert after[1][9] == "-"
    assert after[2][10] == "'- well done"
    assert filled.written == ["ada", "bob"]
    assert any("cy: Moodle has locked" in line for line in filled.left)
    assert any("dee: incomplete" in line and "2.00 was left" in line for line in filled.left)


def test_another_file_than_the_lms_made_is_refused_with_what_to_do(klass, found, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(CourseError, match="Export Entire Gradebook"):
        fill_canvas(path, klass.assignment, found)
    with pytest.raises(CourseError, match="Download grading worksheet"):
        fill_moodle(path, klass.assignment, found)
    path.write_bytes(b"\xff\xfeS\x00t\x00")
    with pytest.raises(CourseError, match="not UTF-8"):
        Sheet.read(path)
    with pytest.raises(CourseError, match="cannot be read"):
        Sheet.read(tmp_path / "none.csv")


def test_gradescopes_layout_gives_a_total_to_final_scores_alone(klass, found):
    header, *lines = rows(gradescope_table(klass.assignment, found))
    assert header[:8] == [
        *("First Name", "Last Name", "SID", "Email", "Sections"),
        *("Total Score", "Max Points", "Status"),
    ]
    assert header[-3:] == ["1: double (2.0 pts)", "2: shift (3.0 pts)", "3: written (1.0 pts)"]
    by = {line[3].split("@")[0]: dict(zip(header, line, strict=True)) for line in lines}
    assert (by["bob"]["Total Score"], by["bob"]["Status"]) == ("2.5", "Graded")
    assert (by["bob"]["First Name"], by["bob"]["Last Name"]) == ("Bob", "Builder")
    assert (by["dee"]["Total Score"], by["dee"]["Status"]) == ("", "Ungraded")
    assert (by["fay"]["Status"], by["ada"]["SID"]) == ("Missing", "101")


def test_names_split_at_the_comma_or_the_last_blank():
    assert split_name("Ada King Lovelace") == ("Ada King", "Lovelace")
    assert split_name("Lovelace, Ada") == ("Ada", "Lovelace")
    assert split_name("Plato") == ("", "Plato")


def test_the_feedback_archive_holds_a_page_for_each_who_has_one(klass, found):
    content, packed, left = feedback_zip(klass.folder, klass.assignment, found)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        page = archive.read("bob/01_toy.html").decode()
    assert names == [f"{student}/01_toy.html" for student in ("ada", "bob", "cy", "dee", "eve")]
    assert packed == ["ada", "bob", "cy", "dee", "eve"]
    assert left == []
    assert "Negative numbers double too." in page
    assert content == feedback_zip(klass.folder, klass.assignment, found)[0]


def test_pages_made_anew_hold_what_was_given_by_hand(klass, found):
    page = klass.folder.feedback / "ada" / "01_toy" / "01_toy.html"
    renew_pages(klass.folder, klass.assignment, found)
    assert "0.75 of 1" in page.read_text()
    assert "JSON cannot be read" in page.parents[2].joinpath("eve/01_toy/01_toy.html").read_text()


def test_moodles_archive_has_the_folders_that_moodle_takes_apart(klass, found, tmp_path):
    path = tmp_path / "worksheet.csv"
    path.write_text(MOODLE)
    content, packed, left = feedback_zip(klass.folder, klass.assignment, found, path)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
    assert packed == ["ada", "bob", "cy", "dee"]
    assert any(line.startswith("eve: has a page and no row") for line in left)
    for name, number in zip(names, (9001, 9002, 9003, 9004), strict=True):
        # As Moodle's assignfeedback_file splits it: name, participant, plugin type, plugin.
        parts = name.split("/")[0].split("_", 4)
        assert (parts[1], parts[2], parts[3]) == (str(number), "assignfeedback", "file")


def test_the_command_writes_where_only_its_owner_reads(klass, capsys, tmp_path):
    course = ["--course", str(klass.folder.root)]
    assert main(["export", "01_toy", *course]) == DONE
    out = capsys.readouterr().out
    assert "dee: incomplete" in out
    assert "Final scores: 3; without: 3; file: " in out
    path = klass.folder.root / "exports" / "01_toy-csv.csv"
    assert path.stat().st_mode & 0o077 == 0
    given_file = tmp_path / "gradebook.csv"
    given_file.write_bytes(CANVAS.encode())
    canvas = ["export", "01_toy", *course, "--format", "canvas"]
    assert main([*canvas, "--into", str(given_file)]) == DONE
    assert (klass.folder.root / "exports" / "gradebook.csv").is_file()
    assert main([*canvas, "--into", str(given_file), "--to", str(given_file)]) == MEND_FIRST
    assert given_file.read_bytes() == CANVAS.encode()
    assert main(canvas) == MEND_FIRST
    assert "--into FILE" in capsys.readouterr().err
    assert main(["feedback-zip", "01_toy", *course, "--as-they-are"]) == DONE
    assert "5 pages: " in capsys.readouterr().out


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1,5", "-3e-4", "-12%", "-1.234,5", "3", "-.5"])
def test_numbers_are_left_as_they_are(number):
    assert guarded(number) == number


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\tx", "＝1", "-1+2", "--1"])
def test_what_a_spreadsheet_would_run_becomes_text(text):
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_line_break_of_any_kind_stays_inside_its_cell(newline):
    cells = [["ada\r=1+1", "bob\n=1+1", "cy\r\n=1+1", "\r=1+1", "plain"], ["a", "", "", "", ""]]
    text = csv_text(cells, newline=newline)
    assert text.endswith(f"a,,,,{newline}")
    assert rows(text) == [[*cells[0][:3], "'\r=1+1", "plain"], cells[1]]


@settings(deadline=None)
@given(st.text(max_size=12))
def test_no_cell_begins_as_a_formula_and_none_is_guarded_twice(text):
    once = guarded(text)
    assert guarded(once) == once
    assert once.removeprefix("'") == text.removeprefix("'")
    if once.startswith(STARTS) and len(once) > 1:
        float(re.sub("[,%.]", "", once))


def test_lateness_is_told_in_hours_minutes_and_seconds(klass, found):
    late = replace(found[0], seconds_late=26 * 3600 + 61.5, timestamp="2027-02-01 10:00:00")
    header, line = rows(gradescope_table(klass.assignment, [late]))
    told = dict(zip(header, line, strict=True))
    assert told["Lateness (H:M:S)"] == "26:01:01"
    assert told["Submission Time"] == "2027-02-01 10:00:00"
