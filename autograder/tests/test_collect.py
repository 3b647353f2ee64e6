"""Downloads of Canvas, Moodle and plain archives become submissions; nothing is guessed or lost."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path

import nbformat
import pytest
from autograder.cli import main
from autograder.collecting.attempts import Attempts
from autograder.collecting.choice import Choice
from autograder.collecting.collect import collect
from autograder.course import CourseError, CourseFolder, load_course
from autograder.gradebook import create_gradebook
from autograder.grading.grade import Batch, submissions
from autograder.grading.workers import Workers
from autograder.init import init
from autograder.intake import Clean
from autograder.intake.archives import MAX_FILE_BYTES
from autograder.intake.handed_in import Refused, find_notebook
from autograder.results import GRADED, Result, TaskResult
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from toy_course import COURSE_TOML, answer, grade_class, make_toy_course, release, solved

ROSTER = """\
id,name,email,lms_id,section,group,extension_hours
ada,"Lovelace, Ada",ada@x.org,101,N,alpha,
ben,Ben Müller,ben@x.org,102,N,alpha,
cy,Kim Lee,cy@x.org,103,S,,48
dee,Kim Lee,dee@x.org,104,S,,
eve,Guido van Rossum,eve@x.org,,S,,
"""
DUE = "2027-02-01T23:59:00+01:00"


def course_with(tmp_path, rules="", roster=ROSTER):
    """A course folder and its course, without what only grading needs."""
    repository = tmp_path / "course"
    (repository / "autograder").mkdir(parents=True)
    text = COURSE_TOML.replace('title = "Toy"', f'title = "Toy"\ndue = {DUE}\n{rules}')
    (repository / "course.toml").write_text(text)
    root = tmp_path / "class"
    (root / "submitted").mkdir(parents=True)
    (root / "roster.csv").write_text(roster)
    (root / "course.json").write_text(json.dumps({"repository": str(repository)}))
    (root / "secret").write_text("00")
    return CourseFolder(root), load_course(repository)


@pytest.fixture
def place(tmp_path):
    return course_with(tmp_path, "groups = false")


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def gather(place, path, source="canvas", times=None, zone=None):
    return collect(*place, "01_toy", source, path, times, zone)


def by_student(found):
    return {line.student: line for line in found.lines}


def submitted(place, student, name="01_toy.ipynb"):
    return (place[0].submitted / student / "01_toy" / name).read_bytes()


def snapshot(folder):
    return {
        str(path.relative_to(folder.root)): path.read_bytes()
        for path in sorted(folder.root.rglob("*"))
        if path.is_file()
    }


# ------------------------------------------------------------------------------------- Canvas


def test_canvas_files_go_to_whose_number_they_carry(place, tmp_path):
    files = {
        "lovelaceada_101_9001_01_toy.ipynb": b"ada",
        "mllerben_LATE_102_9002_01_toy-1.ipynb": b"ben",
        "leekim_104_9004_my work.ipynb": b"dee",
        "vanrossumguido_777_9005_01_toy-2.ipynb": b"eve",
    }
    found = gather(place, zipped(tmp_path / "submissions.zip", files))
    assert found.unmatched == []
    assert [submitted(place, who) for who in ("ada", "ben", "dee", "eve")] == [
        b"ada",
        b"ben",
        b"dee",
        b"eve",
    ]
    assert [person.id for person in found.absent] == ["cy"]


def test_canvas_has_no_times_so_they_are_unknown_even_where_it_says_late(place, tmp_path):
    files = {
        "lovelaceada_101_9001_01_toy.ipynb": b"ada",
        "mllerben_LATE_102_9002_01_toy.ipynb": b"ben",
    }
    lines = by_student(gather(place, zipped(tmp_path / "s.zip", files)))
    assert {line.timing.status for line in lines.values()} == {"unknown"}
    assert "the LMS marks it late" in lines["ben"].remarks
    assert not (place[0].submitted / "ada" / "01_toy" / "timestamp.txt").exists()


def test_what_fits_nobody_for_sure_is_listed_and_goes_to_nobody(place, tmp_path):
    files = {
        "leekim_999_9001_01_toy.ipynb": b"one of two people",
        "lovelaceada_998_9002_01_toy.ipynb": b"the name of one, another's number",
        "nobody_997_9003_01_toy.ipynb": b"?",
        "anon_x7Yz_9004_01_toy.ipynb": b"?",
        "lovelaceada_101_text.html": b"typed",
        "readme.txt": b"?",
    }
    found = gather(place, zipped(tmp_path / "s.zip", files))
    assert found.lines == []
    assert len(found.absent) == 5
    why = dict(found.unmatched)
    assert "2 people have that name" in why["leekim_999_9001_01_toy.ipynb"]
    assert "ada has the lms_id 101" in why["lovelaceada_998_9002_01_toy.ipynb"]
    assert "nobody has that name" in why["nobody_997_9003_01_toy.ipynb"]
    assert "anonymously" in why["anon_x7Yz_9004_01_toy.ipynb"]
    assert "typed into Canvas" in why["lovelaceada_101_text.html"]
    assert len(why) == 6


def canvas_json(tmp_path, *entries):
    path = tmp_path / "submissions.json"
    raw = [
        {"user_id": user, "submitted_at": time, "attachments": [{"id": file}]}
        for user, file, time in entries
    ]
    path.write_text(json.dumps(raw))
    return path


def test_canvas_times_come_from_its_list_by_the_number_of_the_file(place, tmp_path):
    files = {
        "lovelaceada_101_9001_01_toy.ipynb": b"ada",
        "mllerben_102_9002_01_toy.ipynb": b"ben",
        "leekim_103_9003_01_toy.ipynb": b"cy",
        "leekim_104_9004_01_toy.ipynb": b"dee",
    }
    times = canvas_json(
        tmp_path,
        (101, 9001, "2027-02-01T22:59:00Z"),
        (102, 9002, "2027-02-01T23:00:00Z"),
        (103, 9003, "2027-02-03T20:00:00Z"),
        (104, 9999, "2027-01-01T00:00:00Z"),
    )
    lines = by_student(gather(place, zipped(tmp_path / "s.zip", files), times=times))
    assert lines["ada"].timing.status == "on time"
    assert lines["ben"].timing.text == "late by 1 min"
    assert lines["cy"].timing.status == "on time"  # 48 hours more
    assert lines["dee"].timing.status == "unknown"  # that time is of another file
    assert submitted(place, "ada", "timestamp.txt") == b"2027-02-01 22:59:00 UTC"


def test_a_time_without_a_zone_is_unknown(place, tmp_path):
    files = {"lovelaceada_101_9001_01_toy.ipynb": b"ada"}
    path = zipped(tmp_path / "s.zip", files)
    times = tmp_path / "times.csv"
    times.write_text("user_id,submitted_at\n101,2027-01-31 12:00:00\n")
    assert by_student(gather(place, path, times=times))["ada"].timing.status == "unknown"
    found = gather(place, path, times=times, zone="Europe/Berlin")
    assert by_student(found)["ada"].timing.status == "on time"


# ------------------------------------------------------------------------------------- Moodle

WORKSHEET = """\
Identifier,Full name,ID number,Email address,Status,Grade,Last modified (submission),Feedback
Participant 501,Ada Lovelace,,ada@x.org,Submitted,,"Monday, 1 February 2027, 11:59 PM",
Participant 502,Ben Müller,ben,,Submitted,,"Tuesday, 2 February 2027, 12:30 AM",
Participant 503,Kim Lee,,cy@x.org,Submitted,,"Monday, 1 February 2027, 8:00 AM",
Participant 504,Kim Lee,,dee@x.org,No submission,,-,
"""
MOODLE = {
    "Ada Lovelace_501_assignsubmission_file/01_toy.ipynb": b"ada",
    "Ben Müller_502_assignsubmission_file_/01_toy (1).ipynb": b"ben",
    "Kim Lee_503_assignsubmission_file_/deep/er/01_toy.ipynb": b"cy",
    "Guido van Rossum_505_assignsubmission_file_01_toy.ipynb": b"eve",
    "Ada Lovelace_501_assignsubmission_onlinetext/onlinetext.html": b"typed",
}


def test_moodle_folders_are_matched_through_its_worksheet(place, tmp_path):
    sheet = tmp_path / "grades.csv"
    sheet.write_text("\ufeff" + WORKSHEET)
    path = zipped(tmp_path / "moodle.zip", MOODLE)
    found = gather(place, path, "moodle", sheet, "Europe/Berlin")
    lines = by_student(found)
    assert submitted(place, "cy") == b"cy"
    assert submitted(place, "ben") == b"ben"
    assert lines["ada"].timing.status == "on time"
    assert lines["ben"].timing.text == "late by 31 min"
    assert lines["eve"].timing.status == "unknown"
    assert [name for name, _ in found.unmatched] == [
        "Ada Lovelace_501_assignsubmission_onlinetext/onlinetext.html"
    ]


def test_moodle_without_the_worksheet_goes_by_names_that_one_person_has(place, tmp_path):
    found = gather(place, zipped(tmp_path / "moodle.zip", MOODLE), "moodle")
    assert set(by_student(found)) == {"ada", "ben", "eve"}
    why = dict(found.unmatched)
    cy = "Kim Lee_503_assignsubmission_file_/deep/er/01_toy.ipynb"
    assert "2 people are called Kim Lee" in why[cy]
    assert "--times" in why[cy]


def test_a_worksheet_that_contradicts_itself_matches_nobody(place, tmp_path):
    sheet = tmp_path / "grades.csv"
    sheet.write_text(
        WORKSHEET.replace("Participant 501,Ada Lovelace,,", "Participant 501,Ada,ben,")
    )
    found = gather(place, zipped(tmp_path / "m.zip", MOODLE), "moodle", sheet)
    assert "fits ada and ben" in dict(found.unmatched)[next(iter(MOODLE))]
    assert "ada" in {person.id for person in found.absent}


def test_moodle_times_in_an_hour_that_comes_twice_are_unknown(place, tmp_path):
    sheet = tmp_path / "grades.csv"
    sheet.write_text(WORKSHEET.replace("1 February 2027, 11:59 PM", "31 October 2027, 2:30 AM"))
    found = gather(place, zipped(tmp_path / "m.zip", MOODLE), "moodle", sheet, "Europe/Berlin")
    assert by_student(found)["ada"].timing.status == "unknown"


def test_names_in_utf_8_that_the_archive_does_not_declare_are_read(place, tmp_path):
    path = tmp_path / "m.zip"
    zipped(path, {"Ben Müller_502_assignsubmission_file/01_toy.ipynb": b"ben"})
    content = path.read_bytes()  # clear the flag that says "UTF-8" in both headers
    path.write_bytes(content.replace(b"\x14\x00\x00\x08", b"\x14\x00\x00\x00"))
    assert set(by_student(gather(place, path, "moodle"))) == {"ben"}


def test_a_moodle_groups_folder_credits_its_members(tmp_path):
    place = course_with(tmp_path)
    files = {"alpha_31_assignsubmission_file/01_toy.ipynb": b"together"}
    found = gather(place, zipped(tmp_path / "m.zip", files), "moodle")
    assert set(by_student(found)) == {"ada", "ben"}


# ------------------------------------------------------------------------------ plain archives


def test_a_plain_archive_is_matched_by_ids_emails_and_numbers(place, tmp_path):
    files = {
        "all/ada/01_toy.ipynb": b"ada",
        "all/ben@x.org/mine/01_toy.ipynb": b"ben",
        "all/103.ipynb": b"cy",
        "all/ada/ben/01_toy.ipynb": b"whose?",
        "all/zoe/01_toy.ipynb": b"?",
        "all/.DS_Store": b"",
        "__MACOSX/all/ada/._01_toy.ipynb": b"",
    }
    found = gather(place, zipped(tmp_path / "s.zip", files), "zip")
    assert set(by_student(found)) == {"ada", "ben", "cy"}
    assert [name for name, _ in found.unmatched] == [
        "all/ada/ben/01_toy.ipynb",
        "all/zoe/01_toy.ipynb",
    ]


def test_an_unpacked_folder_is_read_like_its_archive(place, tmp_path):
    download = tmp_path / "download"
    (download / "ada").mkdir(parents=True)
    (download / "ada" / "01_toy.ipynb").write_bytes(b"ada")
    (download / "ben").symlink_to(tmp_path)
    found = gather(place, download, "zip")
    assert set(by_student(found)) == {"ada"}
    assert found.unmatched == [("ben", "it is a symbolic link")]


def test_files_keep_apart_and_no_student_can_forge_the_time(place, tmp_path):
    files = {"ada/a/x.ipynb": b"1", "ada/b/x.ipynb": b"2", "ada/timestamp.txt": b"2020-01-01 UTC"}
    gather(place, zipped(tmp_path / "s.zip", files), "zip")
    names = {path.name for path in (place[0].submitted / "ada" / "01_toy").iterdir()}
    assert names == {"x.ipynb", "x (2).ipynb", "handed in timestamp.txt"}


# ------------------------------------------------------------------------------- bad archives


def bad_member(name, change):
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    change(info)
    return info


def test_one_bad_member_never_stops_the_others(place, tmp_path):
    path = tmp_path / "s.zip"
    link = bad_member("ben/01_toy.ipynb", lambda i: setattr(i, "external_attr", 0o120777 << 16))
    pipe = bad_member(
        "eve/pipe", lambda i: setattr(i, "external_attr", (stat.S_IFIFO | 0o600) << 16)
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr(pipe, "")
        archive.writestr("../ada/01_toy.ipynb", b"out")
        archive.writestr("/ada/01_toy.ipynb", b"out")
        archive.writestr("C:/ada/01_toy.ipynb", b"out")
        archive.writestr("cy/01_toy.ipynb", bytes(MAX_FILE_BYTES + 1))
        archive.writestr("dee/01_toy.ipynb", bytes(MAX_FILE_BYTES - 1))
        archive.writestr("eve/01_toy.ipynb", b"good")
    found = gather(place, path, "zip")
    assert set(by_student(found)) == {"eve"}
    why = dict(found.unmatched)
    assert why["ben/01_toy.ipynb"] == "it is a symbolic link"
    assert "leads out" in why["../ada/01_toy.ipynb"]
    assert "leads out" in why["/ada/01_toy.ipynb"]
    assert "leads out" in why["C:/ada/01_toy.ipynb"]
    assert "more than the 20 MB" in why["cy/01_toy.ipynb"]
    assert "zip bomb" in why["dee/01_toy.ipynb"]
    assert not list(tmp_path.glob("ada*"))


def test_an_encrypted_or_damaged_member_is_named(place, tmp_path):
    path = zipped(tmp_path / "s.zip", {"ada/01_toy.ipynb": b"a" * 5000, "ben/01_toy.ipynb": b"b"})
    raw = bytearray(path.read_bytes())
    first = raw.index(b"PK\x01\x02")
    raw[first + 8] |= 1  # the directory says that ada's file is encrypted
    path.write_bytes(raw)
    found = gather(place, path, "zip")
    assert found.unmatched == [("ada/01_toy.ipynb", "it is encrypted")]
    raw[first + 8] &= ~1
    raw[raw.index(b"ada/01_toy.ipynb") + 20] ^= 0xFF
    path.write_bytes(raw)
    assert gather(place, path, "zip").unmatched == [("ada/01_toy.ipynb", "it is damaged")]


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 half"])
def test_a_download_that_is_no_archive_says_so(place, tmp_path, content):
    path = tmp_path / "s.zip"
    path.write_bytes(content)
    with pytest.raises(CourseError, match="no zip file, or a damaged one"):
        gather(place, path)
    with pytest.raises(CourseError, match="no such file or folder"):
        gather(place, tmp_path / "elsewhere.zip")


# ------------------------------------------------------------------------------------ attempts


def one(tmp_path, file, content, name="s.zip"):
    return zipped(tmp_path / name, {f"lovelaceada_101_{file}_01_toy.ipynb": content})


def test_collecting_twice_changes_nothing(place, tmp_path):
    path = one(tmp_path, 9001, b"a")
    times = canvas_json(tmp_path, (101, 9001, "2027-02-01T12:00:00Z"))
    gather(place, path, times=times)
    before = snapshot(place[0])
    again = gather(place, path, times=times)
    assert snapshot(place[0]) == before
    assert by_student(again)["ada"].new == 0


def test_a_newer_download_adds_an_attempt_and_every_attempt_is_kept(place, tmp_path):
    gather(place, one(tmp_path, 9001, b"first"))
    line = by_student(gather(place, one(tmp_path, 9002, b"second")))["ada"]
    assert (line.attempts, line.new, line.counts) == (2, 1, 2)
    home = place[0].root / "attempts" / "ada" / "01_toy"
    assert (home / "1" / "01_toy.ipynb").read_bytes() == b"first"
    assert (home / "2" / "01_toy.ipynb").read_bytes() == b"second"
    assert submitted(place, "ada") == b"second"


def test_an_older_download_collected_again_does_not_come_back(place, tmp_path):
    old = one(tmp_path, 9001, b"first", "old.zip")
    gather(place, old)
    gather(place, one(tmp_path, 9002, b"second", "new.zip"))
    line = by_student(gather(place, old))["ada"]
    assert (line.attempts, line.counts) == (2, 2)
    assert "this download has attempt 1 although attempt 2 is newer" in line.remarks


def test_the_last_before_the_deadline_counts(place, tmp_path):
    times = canvas_json(
        tmp_path,
        (101, 9001, "2027-01-30T12:00:00Z"),
        (101, 9002, "2027-01-31T12:00:00Z"),
        (101, 9003, "2027-02-02T12:00:00Z"),
    )
    for file in (9001, 9002, 9003):
        found = gather(place, one(tmp_path, file, str(file).encode()), times=times)
    line = by_student(found)["ada"]
    assert (line.attempts, line.counts, line.timing.status) == (3, 2, "on time")
    assert any(remark.startswith("attempt 3: late by") for remark in line.remarks)
    assert submitted(place, "ada") == b"9002"


def test_where_none_is_in_time_the_last_counts(place, tmp_path):
    times = canvas_json(
        tmp_path, (101, 9001, "2027-02-02T12:00:00Z"), (101, 9002, "2027-02-03T12:00:00Z")
    )
    for file in (9002, 9001):  # the download of the later one came first
        found = gather(place, one(tmp_path, file, str(file).encode()), times=times)
    assert submitted(place, "ada") == b"9002"
    assert by_student(found)["ada"].timing.status == "late"


def test_times_that_come_later_are_filled_in_and_wrong_zones_put_right(place, tmp_path):
    path = zipped(tmp_path / "m.zip", MOODLE)
    sheet = tmp_path / "grades.csv"
    sheet.write_text(WORKSHEET)
    assert by_student(gather(place, path, "moodle"))["ada"].timing.status == "unknown"
    wrong = gather(place, path, "moodle", sheet, "America/New_York")
    assert by_student(wrong)["ada"].timing.status == "late"
    right = by_student(gather(place, path, "moodle", sheet, "Europe/Berlin"))["ada"]
    assert (right.timing.status, right.attempts) == ("on time", 1)


def test_what_was_laid_out_by_hand_is_kept_as_an_attempt(place, tmp_path):
    by_hand = place[0].submitted / "ada" / "01_toy"
    by_hand.mkdir(parents=True)
    (by_hand / "01_toy.ipynb").write_bytes(b"by hand")
    line = by_student(gather(place, one(tmp_path, 9001, b"from canvas")))["ada"]
    assert (line.attempts, line.counts) == (2, 2)
    kept = place[0].root / "attempts" / "ada" / "01_toy" / "1" / "01_toy.ipynb"
    assert kept.read_bytes() == b"by hand"


def test_one_group_submission_credits_each_member(tmp_path):
    place = course_with(tmp_path)
    line = by_student(gather(place, one(tmp_path, 9001, b"together")))["ben"]
    assert line.remarks == ("handed in by ada",)
    assert submitted(place, "ben") == submitted(place, "ada") == b"together"


# ------------------------------------------------------------------------- the best of them


def graded(name, points):
    task = TaskResult("double", 10.0, points)
    return name, Clean(NotebookNode(cells=[])), Result(name, "01_toy", GRADED, tasks=(task,))


@pytest.fixture
def three(tmp_path):
    """ada's three attempts, the last of them one day late, where the best counts."""
    place = course_with(tmp_path, 'attempts = "best"\nlate_penalty_per_day = 0.5\ngroups = false')
    days = ("2027-01-30", "2027-01-31", "2027-02-02")
    times = canvas_json(
        tmp_path, *((101, 9000 + n, f"{day}T12:00:00Z") for n, day in enumerate(days))
    )
    for number in range(3):
        gather(place, one(tmp_path, 9000 + number, str(number + 1).encode()), times=times)
    return place


def settled(place, *points):
    choice = Choice(*place, "01_toy", submissions(place[0], "01_toy"))
    names = [name for name, _ in choice.found]
    outcomes = [graded(name, score) for name, score in zip(names, points, strict=True)]
    (outcome,) = choice.settled(outcomes)
    choice.note("ada")
    return outcome


@pytest.mark.parametrize(
    ("points", "best"), [((4, 7, 5), 2), ((8, 7, 9), 1), ((4, 4, 4), 2), ((1, 0, 10), 3)]
)
def test_the_best_after_the_penalty_counts_and_of_equals_the_later(three, points, best):
    student, taken, result = settled(three, *points)
    assert (student, result.score) == ("ada", points[best - 1])
    assert f"Attempt {best} of 3 counts" in taken.repairs[-1]
    assert submitted(three, "ada") == str(best).encode()
    assert Attempts(*three, "01_toy").counted("ada").number == best


def test_an_attempt_that_the_machinery_failed_on_leaves_the_best_open(three):
    choice = Choice(*three, "01_toy", submissions(three[0], "01_toy"))
    names = [name for name, _ in choice.found]
    failed = (names[1], Clean(NotebookNode(cells=[])), RuntimeError("disk full"))
    ((_, _, result),) = choice.settled([graded(names[0], 9), failed, graded(names[2], 1)])
    assert isinstance(result, RuntimeError)


def test_only_what_counts_is_graded_where_the_last_counts(place, tmp_path):
    for file in (9001, 9002):
        gather(place, one(tmp_path, file, str(file).encode()))
    choice = Choice(*place, "01_toy", submissions(place[0], "01_toy"))
    assert choice.found == [("ada", place[0].submitted / "ada" / "01_toy")]


def test_a_collected_class_is_graded_by_its_best_attempts_with_penalties_apart(tmp_path):
    course = make_toy_course(tmp_path / "course")
    path = course.repository / "course.toml"
    rules = f'title = "Toy"\ndue = {DUE}\nlate_penalty_per_day = 0.1\nattempts = "best"'
    path.write_text(path.read_text().replace('title = "Toy"', rules))
    course = load_course(course.repository)
    folder = init(tmp_path / "class", course)
    (folder.root / "roster.csv").write_text(ROSTER)
    half, full = release(course), nbformat.writes(solved(course)).encode()
    answer(half, "double", "# graded: 01_toy/double\ndef double(x):\n    return 2 * x\n")
    times = canvas_json(
        tmp_path, (101, 9001, "2027-02-01T12:00:00Z"), (101, 9002, "2027-02-02T12:00:00Z")
    )
    for file, content in ((9001, nbformat.writes(half).encode()), (9002, full)):
        download = one(tmp_path, file, content)
        collect(folder, course, "01_toy", "canvas", download, times)
    rows = grade_class(folder, course, "01_toy")
    assert {student: row.score for student, row in rows.items()} == {"ada": 5, "ben": 5}
    assert rows["ben"].notes[-1] == "Attempt 2 of 2 counts: it has the most points."
    with Gradebook(folder.database, course.id) as gradebook:
        for student in ("ada", "ben"):
            found = gradebook.find_submission("01_toy", student)
            assert (found.score, round(found.late_submission_penalty, 6)) == (5, 0.6)
    assert (folder.submitted / "ben" / "01_toy" / "01_toy.ipynb").read_bytes() == full
    # Graded again, nothing is run again: what each attempt got is kept.
    batch = Batch(folder, course, "01_toy", Workers(course, course.assignment("01_toy")))
    assert [row.score for row in batch.run()] == [5, 5]
    assert batch.workers.sandbox is None


# --------------------------------------------------------------------------------- the command


def test_the_command_prints_who_what_and_when(place, tmp_path, capsys):
    create_gradebook(place[0].database)
    files = {"lovelaceada_101_9001_01_toy.ipynb": b"a", "weird [red].ipynb": b"?"}
    path = zipped(tmp_path / "s.zip", files)
    root = str(place[0].root)
    assert main(["collect", "01_toy", str(path), "--from", "canvas", "--course", root]) == 0
    told = capsys.readouterr().out
    assert "1 handed in: 1 unknown" in told
    assert "weird [red].ipynb: its name is none that Canvas gives" in told
    assert "Absent (4):" in told
    assert "dee (Kim Lee)" in told
    assert "--times" in told


def test_a_course_without_a_roster_says_how_to_make_one(place, tmp_path, capsys):
    (place[0].root / "roster.csv").unlink()
    path = str(one(tmp_path, 9001, b"a"))
    arguments = ["collect", "01_toy", path, "--from", "canvas", "--course", str(place[0].root)]
    assert main(arguments) == 2
    assert "roster.csv is missing" in capsys.readouterr().err


def test_a_zip_bomb_inside_a_submission_is_refused_by_intake(tmp_path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_toy.ipynb", bytes(MAX_FILE_BYTES - 1))
    (tmp_path / "work.zip").write_bytes(bomb.getvalue())
    with pytest.raises(Refused, match="a zip bomb"):
        find_notebook(Path(tmp_path), "01_toy")
