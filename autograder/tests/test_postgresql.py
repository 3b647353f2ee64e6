"""The gradebook may lie in PostgreSQL: a real server, started here on a scratch folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from autograder.course import CourseError
from autograder.init import init
from nbgrader.api import Gradebook
from toy_course import grade_class, hand_in, make_toy_course, release, solved

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
INSTALL = "no PostgreSQL server here: apt-get install postgresql"


def server_user() -> str | None:
    """PostgreSQL refuses to run as root: the user that Debian's package has made, if we are root."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("postgres").pw_name


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an empty database, up to its name; only a socket in a scratch folder listens."""
    if not PROGRAMS:
        if os.environ.get("CI"):
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="steerlab-pg-", dir="/tmp"))
    user = server_user()
    if user:
        shutil.chown(folder, user)
    data = folder / "data"

    def run(program: str, *words: str) -> None:
        command = [PROGRAMS[-1] / program, *words]
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    run("initdb", "--auth=trust", "--username=grader", "--no-sync", "--pgdata", f"{data}")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    log = f"--log={folder / 'log'}"
    run("pg_ctl", "--pgdata", f"{data}", "--wait", "--options", options, log, "start")
    try:
        for name in ("steerlab", "empty"):
            run("createdb", "--host", f"{folder}", "--username=grader", name)
        yield f"postgresql+psycopg://grader:not-to-be-shown@/{{}}?host={folder}"
    finally:
        run("pg_ctl", "--pgdata", f"{data}", "--mode=immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def test_a_class_is_graded_into_postgresql(server, tmp_path):
    course = make_toy_course(tmp_path / "course")
    folder = init(tmp_path / "class", course, server.format("steerlab"))
    hand_in(folder.root, "ada", solved(course))
    hand_in(folder.root, "bob", release(course))
    rows = grade_class(folder, course, "01_toy")
    assert {student: row.score for student, row in rows.items()} == {"ada": 5, "bob": 0}
    assert not folder.gradebook.exists()
    with Gradebook(folder.database) as gradebook:
        scores = {s.student_id: s.score for s in gradebook.assignment_submissions("01_toy")}
    assert scores == {"ada": 5, "bob": 0}


def test_a_database_that_is_not_there_is_named_without_its_password(server, tmp_path):
    course = make_toy_course(tmp_path / "course")
    with pytest.raises(CourseError) as refused:
        init(tmp_path / "class", course, server.format("nowhere"))
    assert 'database "nowhere" does not exist' in str(refused.value)
    assert "not-to-be-shown" not in str(refused.value)
    assert not (tmp_path / "class").exists()


def test_a_driver_that_is_not_installed_is_named(tmp_path):
    course = make_toy_course(tmp_path / "course")
    with pytest.raises(CourseError, match="cannot be opened"):
        init(tmp_path / "class", course, "oracle+cx_oracle://me@host/x")
