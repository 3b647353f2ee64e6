"""Submissions run wherever Dask's workers are, and one that goes away loses nothing."""

from __future__ import annotations

import threading
import time

import pytest
from autograder.course import CourseError
from autograder.grading import work, workers
from autograder.grading.grade import Batch
from autograder.grading.workers import Workers, WorkersGone, fitting
from autograder.init import init
from distributed import LocalCluster
from toy_course import hand_in, make_toy_course, release, solved

asked = threading.Event()


def never_done(job):
    """What a worker is busy with when its scheduler goes."""
    asked.set()
    time.sleep(5)


@pytest.fixture
def course(tmp_path):
    return make_toy_course(tmp_path / "course")


@pytest.fixture
def folder(tmp_path, course):
    made = init(tmp_path / "class", course)
    hand_in(made.root, "ada", solved(course))
    hand_in(made.root, "bob", release(course))
    return made


@pytest.fixture
def cluster():
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as made:
        yield made


def on(folder, course, address):
    return Workers(course, course.assignment("01_toy"), (folder.root,), scheduler=address)


def test_a_schedulers_workers_give_the_same_scores(course, folder, cluster):
    with on(folder, course, cluster.scheduler_address) as there:
        rows = {row.student: row.score for row in Batch(folder, course, "01_toy", there).run()}
        assert there.sandbox is None  # each worker has started its own
    assert rows == {"ada": 5, "bob": 0}


def test_a_worker_with_another_course_grades_nothing(course, folder, cluster, monkeypatch):
    with on(folder, course, cluster.scheduler_address) as there:
        batch = Batch(folder, course, "01_toy", there)
        batch.session.environment = {**batch.session.environment, "hidden_tests": "of last year"}
        with pytest.raises(CourseError, match="differs from this one in hidden_tests"):
            list(batch.run())
    assert not folder.ledger.exists()


def test_a_scheduler_that_is_not_there_is_named(course, folder, monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1)
    batch = Batch(folder, course, "01_toy", on(folder, course, "tcp://127.0.0.1:9"))
    with pytest.raises(CourseError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(batch.run())
    assert not folder.ledger.exists()


def test_a_scheduler_that_leaves_midway_loses_nothing(course, folder, monkeypatch):
    monkeypatch.setattr(work, "grade", never_done)
    cluster = LocalCluster(processes=False, n_workers=1, dashboard_address="127.0.0.1:0")
    try:
        with on(folder, course, cluster.scheduler_address) as there:
            batch = Batch(folder, course, "01_toy", there)

            def leave() -> None:
                asked.wait(30)
                cluster.close()

            leaving = threading.Thread(target=leave)
            leaving.start()
            with pytest.raises(WorkersGone, match="went away"):
                list(batch.run())
            leaving.join()
    finally:
        cluster.close()
    assert not folder.ledger.exists()


@pytest.mark.parametrize(
    ("processors", "free_mb", "workers"), [(2, 24_000, 2), (64, 32_000, 8), (4, 500, 1)]
)
def test_there_are_no_more_workers_than_submissions_fit_into_memory(processors, free_mb, workers):
    assert fitting(processors, 3000, free_mb) == workers
