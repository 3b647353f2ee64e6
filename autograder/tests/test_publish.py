"""Students get what the allow-list names, without history, and nothing that leaks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from autograder.build import build
from autograder.cli import main
from autograder.course import CourseError, load_course
from autograder.publish import LeakFound, is_allowed, publish, student_environment
from autograder.terminal import CHECK_FAILED, DONE, MEND_FIRST
from toy_course import CANARY, COURSE_TOML, HIDDEN_TESTS, REPOSITORY, SOURCE

SOLUTION_LINE = "moved_by_course_offset = x + by + OFFSET\nreturn moved_by_course_offset"


def git(folder: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.edu", *words],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A course repository under git, with a small library of its own."""
    root = tmp_path_factory.mktemp("publish") / "course"
    files = {
        "course.toml": COURSE_TOML,
        "LICENSE": "Apache-2.0",
        "README.md": "authors only: toy/course",
        "constraints.txt": "torch==2.13.0\n",
        "environment.yml": "name: toy\ndependencies:\n  - bubblewrap\n  - pip:\n      - --editable lib\n"
        "      - --editable autograder[test]\n",
        "docs/student-guide.md": "How to hand in.",
        "docs/instructor-guide.md": "How to grade.",
        "lib/pyproject.toml": "[project]\nname = 'toy'\n",
        "lib/README.md": "# toy",
        "lib/steerlab/__init__.py": '"""A library."""\n',
        "lib/tests/test_it.py": "def test(): pass\n",
        "solutions/01_toy.py": SOURCE,
        "autograder/hidden_tests/test_01_toy.py": HIDDEN_TESTS,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    course = load_course(root)
    build(course, course.assignment("01_toy"), run=False)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    (root / "lib" / "steerlab" / "my_notes.py").write_text("untracked = True\n")
    return root


@pytest.fixture
def course(template, tmp_path):
    shutil.copytree(template, tmp_path / "course")
    return load_course(tmp_path / "course")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def add(course, name: str, text: str | bytes) -> None:
    path = course.repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    git(course.repository, "add", name)


def test_the_copy_is_the_allow_list_and_no_more(course, tmp_path):
    target = tmp_path / "students"
    done = publish(course, target)
    assert names(target) == {
        *("LICENSE", "README.md", "constraints.txt", "environment.yml", ".published.json"),
        *("docs/student-guide.md", "lib/README.md", "lib/pyproject.toml"),
        *("lib/steerlab/__init__.py", "assignments/01_toy/01_toy.ipynb"),
    }
    assert set(done.files) == names(target) - {".published.json"}
    assert done.assignments == ("01_toy",)


def test_the_front_page_speaks_to_students(course, tmp_path):
    publish(course, tmp_path / "students")
    text = (tmp_path / "students" / "README.md").read_text()
    badge = "colab.research.google.com/github/toy/students/blob/v1/assignments/01_toy/01_toy.ipynb"
    assert badge in text
    assert "git clone https://github.com/toy/students\ncd students" in text
    assert "(docs/student-guide.md)" in text
    assert "authors only" not in text
    assert "{{" not in text
    environment = (tmp_path / "students" / "environment.yml").read_text()
    assert "--editable lib" in environment
    assert "autograder" not in environment
    assert "bubblewrap" not in environment


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("docs/student-guide.md", f"see {CANARY}", "the canary"),
        ("docs/student-guide.md", CANARY.encode().hex(), "the canary"),
        ("docs/student-guide.md", f"```\n{SOLUTION_LINE}\n```", "the solution of shift"),
        ("lib/steerlab/blob.bin", b"\0\xff" + CANARY.encode(), "the canary"),
        ("docs/student-faq.md", "clone toy/course first", "private repository toy/course"),
        ("docs/student-faq.md", HIDDEN_TESTS.split(CANARY)[1][:400], "a hidden test"),
    ],
)
def test_a_leak_stops_everything_and_is_named(course, tmp_path, name, text, told):
    add(course, name, text)
    with pytest.raises(LeakFound, match=told) as raised:
        publish(course, tmp_path / "students")
    assert name in str(raised.value)
    assert not (tmp_path / "students").exists()


def test_the_students_repository_may_be_named(course, tmp_path):
    toml = course.repository / "course.toml"
    toml.write_text(toml.read_text().replace('"toy/students"', '"toy/course-students"'))
    add(course, "docs/student-guide.md", "clone toy/course-students")
    publish(load_course(course.repository), tmp_path / "students")


def test_a_link_out_of_the_repository_is_not_followed(course, tmp_path):
    (tmp_path / "private.txt").write_text("private")
    (course.repository / "docs" / "student-more.md").symlink_to(tmp_path / "private.txt")
    git(course.repository, "add", "docs")
    with pytest.raises(CourseError, match="is a link or leads out"):
        publish(course, tmp_path / "students")


def test_a_linked_folder_is_not_followed(course, tmp_path):
    shutil.rmtree(course.repository / ".git")
    (course.repository / "lib" / "steerlab" / "more").symlink_to(course.repository / "solutions")
    with pytest.raises(CourseError, match="is a link or leads out"):
        publish(course, tmp_path / "students")


def test_a_second_time_replaces_what_the_first_wrote(course, tmp_path):
    target = tmp_path / "students"
    target.mkdir()
    git(target, "init", "-q")
    publish(course, target)
    git(course.repository, "rm", "-q", "docs/student-guide.md")
    add(course, "LICENSE", "changed")
    done = publish(course, target)
    assert done.removed == ("docs/student-guide.md",)
    assert not (target / "docs").exists()
    assert (target / "LICENSE").read_text() == "changed"
    assert (target / ".git" / "HEAD").is_file()
    assert set(json.loads((target / ".published.json").read_text())["files"]) == set(done.files)


def test_what_somebody_changed_in_the_copy_is_not_overwritten(course, tmp_path):
    target = tmp_path / "students"
    publish(course, target)
    (target / "LICENSE").write_text("mended by hand")
    with pytest.raises(CourseError, match="LICENSE was changed since it was published"):
        publish(course, target)
    assert (target / "LICENSE").read_text() == "mended by hand"


def test_a_folder_with_other_things_in_it_is_refused(course, tmp_path):
    target = tmp_path / "students"
    target.mkdir()
    (target / "thesis.txt").write_text("mine")
    with pytest.raises(CourseError, match="not empty and no earlier copy"):
        publish(course, target)
    for inside in (course.repository, course.repository / "out", course.repository.parent):
        with pytest.raises(CourseError, match=r"overlaps the repository|not empty"):
            publish(course, inside)


def test_only_what_is_asked_for_and_built_is_published(course, tmp_path):
    toml = course.repository / "course.toml"
    toml.write_text(
        toml.read_text()
        + '\n[assignments.02_more]\ntitle = "More"\n[assignments.02_more.tasks]\na = 1\n'
    )
    more = load_course(course.repository)
    assert publish(more, tmp_path / "all").assignments == ("01_toy",)
    with pytest.raises(CourseError, match="02_more has no release"):
        publish(more, tmp_path / "more", ["02_more"])


def test_the_command_says_what_is_there_or_what_leaks(course, tmp_path, capsys):
    repository = ["--repository", str(course.repository)]
    assert main([*repository, "publish", str(tmp_path / "a")]) == DONE
    assert "9 files in" in capsys.readouterr().out
    assert main([*repository, "publish", str(tmp_path / "b"), "--assignment", "x"]) == MEND_FIRST
    add(course, "docs/student-guide.md", CANARY)
    assert main([*repository, "publish", str(tmp_path / "c")]) == CHECK_FAILED
    assert "would leak" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        *(
            "solutions/01_toy.py",
            "autograder/hidden_tests/test_01_toy.py",
            "course.toml",
            "Makefile",
        ),
        *(
            ".git/config",
            "lib/steerlab/__pycache__/x.pyc",
            "lib/steerlab/.env",
            "lib/tests/test_a.py",
        ),
        *("assignments/02_other/02_other.ipynb", "assignments/01_toy/notes.txt", "lib/other.py"),
        *("docs/instructor.md", "docs/author/student.md", "x/LICENSE", "lib/steerlab.py"),
    ],
)
def test_what_the_allow_list_does_not_have_stays(name):
    assert not is_allowed(name, ["01_toy"])


def test_the_real_course_publishes_without_a_leak(tmp_path):
    real = load_course(REPOSITORY)
    done = publish(real, tmp_path / "students")
    assert "lib/steerlab/__init__.py" in done.files
    assert not [name for name in done.files if name.startswith(("autograder", "solutions"))]
    published = {path.name for path in (tmp_path / "students").iterdir()}
    assert published <= {
        *("LICENSE", "README.md", "constraints.txt", "environment.yml", ".published.json"),
        *("assignments", "docs", "lib"),
    }
    assert "autograder" not in student_environment(REPOSITORY / "environment.yml")
    assert not os.path.lexists(tmp_path / "students" / ".git")
