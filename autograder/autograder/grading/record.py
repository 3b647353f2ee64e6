"""Write results into nbgrader: its gradebook, its autograded notebooks, its feedback pages.

nbgrader stays the system of record: scores go through its own Autograde converter with the course
folder's configuration, so late penalties, comments and hand-given scores are treated as it treats
them, and `nbgrader autograde` typed by hand does the same.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import nbformat
import nbgrader.api
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters.autograde import Autograde
from nbgrader.converters.base import NbGraderException
from nbgrader.converters.generate_feedback import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from sqlalchemy import text
from sqlalchemy.exc import SAWarning, SQLAlchemyError
from traitlets.config import Config, PyFileConfigLoader

from ..course import CourseError, CourseFolder
from ..gradebook import unreachable
from ..intake import Clean
from ..results import write_whole
from .feedback import ungraded_page
from .page import NotebookFile, as_json
from .preprocessor import with_repairs

# nbgrader visits the gradebook ten times for each submission, and with an engine made anew SQLAlchemy
# compiles every query of every visit again.
nbgrader.api.create_engine = lru_cache(maxsize=4)(nbgrader.api.create_engine)

# nbgrader's own queries provoke this; it means nothing to whoever reads the terminal.
warnings.filterwarnings("ignore", "Object of type <Submitted", SAWarning)


class RecordError(Exception):
    """nbgrader could not record a result; the message says what it said."""


def folder_config(folder: CourseFolder) -> Config:
    """The course folder's nbgrader configuration."""
    config: Config = PyFileConfigLoader("nbgrader_config.py", path=str(folder.root)).load_config()
    config.CourseDirectory.root = str(folder.root)
    chains = (
        config.Autograde.get("sanitize_preprocessors"),
        config.Autograde.get("autograde_preprocessors"),
    )
    for chain, needed in zip(chains, ("Intake", "SandboxExecute"), strict=True):
        if not chain or chain[0] != f"autograder.grading.preprocessor.{needed}":
            # With nbgrader's own lists, students' code would run here, outside every sandbox.
            raise CourseError(
                f"{folder.root / 'nbgrader_config.py'} does not lead autograding through the "
                f"sandbox: put autograder.grading.preprocessor.{needed} first in its list again."
            )
    return config


class Recorder:
    """Records results of one assignment, one submission at a time."""

    def __init__(self, folder: CourseFolder, assignment_id: str) -> None:
        self.folder, self.assignment_id = folder, assignment_id
        self.config = folder_config(folder)
        self.config.CourseDirectory.assignment_id = assignment_id
        # What is recorded has been through intake: a second time would find nothing to repair, and
        # the page would not say what the first one did.
        autograde = self.config.Autograde
        autograde.sanitize_preprocessors = autograde.sanitize_preprocessors[1:]
        autograde.exporter_class = NotebookFile
        directory = CourseDirectory(config=self.config)
        self.db_url, self.course_id = directory.db_url, directory.course_id
        self.log = _quiet_log(folder.root / "logs" / "nbgrader.log")
        self._check_gradebook()

    def record(self, student: str, clean: Clean, timestamp: datetime | None = None) -> None:
        """Put one graded submission into the gradebook and write its page; raises RecordError."""
        source = self.folder.clean / student / self.assignment_id
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True, mode=0o700)
        path = source / f"{self.assignment_id}.ipynb"
        path.write_text(as_json(with_repairs(clean)), encoding="utf-8")
        if timestamp is not None:
            (source / "timestamp.txt").write_text(timestamp.isoformat())
        self._convert(Autograde, student, submitted_directory="clean")
        self.write_page(student)

    def write_page(self, student: str) -> None:
        """Write a graded submission's page from what the gradebook holds now; raises RecordError."""
        self._convert(GenerateFeedback, student)

    def record_ungraded(self, student: str, reason: str) -> None:
        """Note that a submission exists and has no score, and tell its author why."""
        with Gradebook(self.db_url, self.course_id) as gradebook:
            gradebook.update_or_create_student(student)
            gradebook.update_or_create_submission(self.assignment_id, student)
        page = self.feedback_page(student)
        page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page, ungraded_page(self.assignment_id, reason))

    def feedback_page(self, student: str) -> Path:
        """Where a student's feedback lies."""
        return self.folder.feedback / student / self.assignment_id / f"{self.assignment_id}.html"

    def has(self, student: str) -> bool:
        """Whether the gradebook holds this student's submission and the page is there."""
        return self.feedback_page(student).is_file() and self.totals(student) is not None

    def totals(self, student: str) -> tuple[float, bool] | None:
        """Score in the gradebook and whether it still waits for a person; None without a row."""
        with Gradebook(self.db_url, self.course_id) as gradebook:
            try:
                submission = gradebook.find_submission(self.assignment_id, student)
            except MissingEntry:
                return None
            return float(submission.score), bool(submission.needs_manual_grade)

    def _check_gradebook(self) -> None:
        """Raise CourseError unless the gradebook can be read and written and knows the assignment."""
        try:
            with Gradebook(self.db_url, self.course_id) as gradebook:
                gradebook.find_assignment(self.assignment_id)
                gradebook.db.execute(text("UPDATE assignment SET id = id WHERE 1 = 0"))
                gradebook.db.rollback()
        except MissingEntry as error:
            raise CourseError(
                f"The gradebook of {self.folder.root} does not know {self.assignment_id}."
            ) from error
        except SQLAlchemyError as error:
            raise CourseError(
                f"{unreachable(self.db_url, error)} Close what holds it, or mend its permissions, "
                "and try again; nothing was changed."
            ) from error

    def _convert(self, converter: type, student: str, **directories: str) -> None:
        config = Config(self.config)
        config.CourseDirectory.student_id = student
        config[converter.__name__].force = True
        for name, value in directories.items():
            config.CourseDirectory[name] = value
        coursedir = CourseDirectory(config=config)
        job = converter(coursedir=coursedir, config=config, log=self.log)
        try:
            with _checked_already():
                job.start()
        except NbGraderException as error:
            raise RecordError(f"nbgrader could not record {student}: {error}") from error


@contextmanager
def _checked_already() -> Iterator[None]:
    """A block that leaves out checks which nbformat and nbgrader make again for every submission.

    nbformat would check one notebook six times, and only log what it finds: intake has looked
    through what was submitted, and all the rest is made here. nbgrader would ask ten times whether
    the gradebook has its tables, which `Recorder` has seen.
    """
    tables = nbgrader.api.Base.metadata
    check, nbformat.validate = nbformat.validate, lambda *_, **__: None
    tables.create_all = lambda **_: None  # an attribute of its own, over the method
    try:
        yield
    finally:
        nbformat.validate = check
        del tables.create_all


def _quiet_log(path: Path) -> logging.Logger:
    """nbgrader's chatter goes into a file of the course folder."""
    log = logging.getLogger("autograder.nbgrader")
    log.propagate = False
    log.setLevel(logging.INFO)
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    path.parent.mkdir(exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return log
