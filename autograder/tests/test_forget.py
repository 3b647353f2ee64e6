"""After somebody is forgotten, a search of every store finds nothing of theirs, and all of others'."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile

import pytest
from autograder.cli import main
from autograder.course import CourseError, CourseFolder
from autograder.forget import Identity, forget
from autograder.ledger import Ledger
from autograder.report import write_report
from autograder.results import Store
from autograder.standings import people
from autograder.terminal import CHECK_FAILED, DONE, MEND_FIRST
from made_up_class import MadeUpClass
from nbgrader.api import Gradebook

ROSTER = """\
id,name,email,lms_id,section,group,extension_hours
ada99,Ada Lovelace,countess@example.edu,7654321,North,,
bob99,"O'Brien, Zoë",zoe@example.edu,7654322,South,,
cy99,Cy Young,cy@example.edu,7654323,South,,
dee99,Dee Dee,dee@example.edu,7654324,South,,
"""


def files_with(root, *words):
    """Files whose name or bytes hold a word; archives are opened."""
    found = {}
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        texts = [str(path.relative_to(root)).encode(), path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                texts += [archive.read(name) + name.encode() for name in archive.namelist()]
        held = [word for word in words if any(word.encode() in text for text in texts)]
        if held:
            found[str(path.relative_to(root))] = held
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    made = MadeUpClass(tmp_path_factory.mktemp("forget"))
    root = made.folder.root
    (root / "roster.csv").write_text(ROSTER)
    made.add("ada99", "right", "offset", "# This is the work of Ada Lovelace")
    made.add("bob99", "positive", "right")
    made.add("cy99", "positive", "right")
    made.add("dee99", "right", "nothing", "# shared by Dee Dee")
    made.add("eve99", "right", "nothing", "# shared by Dee Dee")
    made.grade()
    with (root / "logs" / "nbgrader.log").open("a") as log:
        log.write("2027-01-01 00:00:00,000 ERROR ada99\nTraceback\n  of countess@example.edu\n")
        log.write("2027-01-01 00:00:01,000 INFO bob99 stays\n")
    (root / "attempts" / "ada99" / "01_toy" / "1").mkdir(parents=True)
    (root / "attempts" / "ada99" / "01_toy" / "1" / "01_toy.ipynb").write_text("{}")
    (root / "downloaded" / "01_toy").mkdir(parents=True)
    with zipfile.ZipFile(root / "downloaded" / "01_toy" / "ada99.zip", "w") as archive:
        archive.writestr("01_toy.ipynb", "by Ada Lovelace")
    write_report(made.folder, made.course, made.assignment, names=True, similarity=True)
    course = ["--course", str(root)]
    assert main(["export", "01_toy", *course]) == DONE
    assert main(["feedback-zip", "01_toy", "--as-they-are", *course]) == DONE
    return made


@pytest.fixture
def klass(template, tmp_path):
    """The class in a folder of the test's own."""
    shutil.copytree(template.folder.root, tmp_path / "class")
    (tmp_path / "class").chmod(0o700)
    made = copy.copy(template)
    made.folder = CourseFolder(tmp_path / "class")
    return made


def test_nothing_of_the_person_remains_in_any_store(klass):
    root = klass.folder.root
    words = ("ada99", "Ada Lovelace", "countess@example.edu", "7654321")
    stores = {name.split("/")[0] for name in files_with(root, *words)}
    assert stores >= {
        *("submitted", "clean", "autograded", "feedback", "results", "gradebook.db"),
        *("ledger.jsonl", "logs", "roster.csv", "reports", "exports", "downloaded", "attempts"),
    }
    done = forget(klass.folder, klass.course, "ada99")
    assert done.remains == []
    assert files_with(root, *words) == {}


def test_everything_of_the_others_stays(klass):
    root = klass.folder.root
    before = {
        name: (root / name).read_bytes()
        for name in files_with(root, "bob99", "cy99")
        if name.split("/")[0] in ("submitted", "clean", "autograded", "feedback", "results")
    }
    assert len(before) >= 8
    forget(klass.folder, klass.course, "ada99")
    assert {name: (root / name).read_bytes() for name in before} == before
    with Gradebook(klass.folder.database, klass.course.id) as gradebook:
        assert {s.id for s in gradebook.students} == {"bob99", "cy99", "dee99", "eve99"}
        assert gradebook.find_submission("01_toy", "bob99").score == 4
    assert [person.id for person in people(klass.folder)] == ["bob99", "cy99", "dee99"]
    assert people(klass.folder)[0].name == "O'Brien, Zoë"
    log = (root / "logs" / "nbgrader.log").read_text()
    assert "bob99 stays" in log
    assert "Traceback" not in log
    rows = klass.grade()
    assert "ada99" not in rows or rows["ada99"].score is None


def test_the_ledger_says_that_events_were_removed_and_not_whose(klass):
    before = list(Ledger(klass.folder.ledger).events())
    forget(klass.folder, klass.course, "ada99")
    after = list(Ledger(klass.folder.ledger).events())
    assert after[:-1] == [event for event in before if event["student"] != "ada99"]
    assert after[-1]["reason"] == "forget: 1 events of one person were removed"
    assert "ada99" not in json.dumps(after)
    assert Ledger(klass.folder.ledger).standing("bob99", "01_toy")["status"] == "graded"


def test_a_result_that_somebody_else_has_too_stays(klass):
    ledger, store = Ledger(klass.folder.ledger), Store(klass.folder.results)
    key = ledger.last("bob99", "01_toy")["key"]
    assert key == ledger.last("cy99", "01_toy")["key"]
    done = forget(klass.folder, klass.course, "bob99")
    assert done.shared == [f"results/{key}.json"]
    assert store.get(key) is not None
    forget(klass.folder, klass.course, "cy99")
    assert store.get(key) is None


def test_a_shared_result_that_names_the_person_goes(klass):
    key = Ledger(klass.folder.ledger).last("eve99", "01_toy")["key"]
    assert key == Ledger(klass.folder.ledger).last("dee99", "01_toy")["key"]
    done = forget(klass.folder, klass.course, "dee99")
    assert Store(klass.folder.results).get(key) is None
    assert any(name.startswith("submitted/eve99") for name in done.remains)
    assert not any(name.startswith("results") for name in done.remains)


def test_a_result_without_an_event_is_found_by_its_notebook(klass):
    klass.folder.ledger.unlink()
    key = next(p.stem for p in klass.folder.results.glob("*.json") if "Ada" in p.read_text())
    forget(klass.folder, klass.course, "ada99")
    assert Store(klass.folder.results).get(key) is None


def test_what_others_wrote_about_the_person_is_named(klass, capsys):
    page = klass.folder.submitted / "bob99" / "notes.html"
    page.write_text("thanks to Zo&euml; O&#39;Brien")
    backup = klass.folder.root / "gradebook.db.backup"
    backup.write_bytes(klass.folder.gradebook.read_bytes())
    packed = klass.folder.root / "old.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/b.txt", "Zoë O'Brien")
    page.rename(klass.folder.submitted / "cy99" / "notes.html")
    course = ["--course", str(klass.folder.root)]
    assert main(["forget", "bob99", "--yes", *course]) == CHECK_FAILED
    out = capsys.readouterr().out
    for name in ("submitted/cy99/notes.html", "gradebook.db.backup", "old.zip"):
        assert name in out.split("Still named")[1]


def test_nothing_goes_without_a_yes_or_in_a_dry_run(klass, capsys, monkeypatch):
    root = klass.folder.root
    before = sorted(path for path in root.rglob("*"))
    course = ["--course", str(root)]
    assert main(["forget", "ada99", "--dry-run", *course]) == DONE
    out = capsys.readouterr().out
    assert "submitted/ada99" in out
    assert "1 events in ledger.jsonl" in out
    assert main(["forget", "ada99", *course]) == MEND_FIRST
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "bob99")
    assert main(["forget", "ada99", *course]) == MEND_FIRST
    assert sorted(path for path in root.rglob("*")) == before


def test_a_group_that_the_person_handed_in_for_keeps_its_attempt_without_the_name(klass):
    record = klass.folder.root / "attempts" / "bob99" / "01_toy" / "attempts.json"
    record.parent.mkdir(parents=True)
    record.write_text(
        json.dumps({"attempts": [{"number": 1, "by": "Ada Lovelace", "source": "x"}]})
    )
    done = forget(klass.folder, klass.course, "ada99")
    assert done.remains == []
    (attempt,) = json.loads(record.read_text())["attempts"]
    assert attempt == {"number": 1, "by": "(forgotten)", "source": "x"}


def test_a_second_call_says_that_nothing_is_there(klass):
    forget(klass.folder, klass.course, "ada99")
    with pytest.raises(CourseError, match="Nothing of 'ada99' is in"):
        forget(klass.folder, klass.course, "ada99")


@pytest.mark.parametrize("student", ["", ".", "..", "../class", "a/b", "/etc"])
def test_a_path_is_no_student(klass, student):
    with pytest.raises(CourseError, match="no student id"):
        forget(klass.folder, klass.course, student)


@pytest.mark.parametrize("student", ["01_toy", "source", "results", "gradebook", "secret", "logs"])
def test_somebody_called_like_a_part_of_the_course_takes_nothing_else_away(klass, student):
    root = klass.folder.root
    before = {path for path in root.rglob("*") if path.is_file()}
    with pytest.raises(CourseError, match="Nothing of"):
        forget(klass.folder, klass.course, student)
    (klass.folder.submitted / student / "01_toy").mkdir(parents=True)
    (klass.folder.submitted / student / "01_toy" / "01_toy.ipynb").write_text("{}")
    removed = forget(klass.folder, klass.course, student).removed
    assert removed[0] == f"submitted/{student}"
    gone = before - {path for path in root.rglob("*") if path.is_file()}
    assert {path.relative_to(root).parts[0] for path in gone} <= {"reports", "exports"}


def test_an_id_is_found_as_a_whole_word_only():
    pattern = Identity("ann", ("ann", "Ann Lee")).pattern()
    ordinary = Identity("source", ()).pattern()
    assert pattern.search("by ANN, today")
    assert pattern.search('"student": "ann"')
    assert not pattern.search("annotation of joann-ann2 mann")
    assert not ordinary.search("versions from the source directory")
    assert ordinary.search("Converting notebook /x/clean/source/01_toy/01_toy.ipynb")
    assert ordinary.search("student with ID 'source': {}")
