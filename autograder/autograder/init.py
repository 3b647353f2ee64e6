"""`autograder init DIR`: the private course folder, with nbgrader configured and its gradebook filled."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook

from .build import generator_config, read_source, run_generator, write_source
from .course import Assignment, Course, CourseError, CourseFolder, create_folder
from .gradebook import create_gradebook

NBGRADER_CONFIG = '''\
"""nbgrader's configuration for this course folder; made by `autograder init`, yours to extend.

`nbgrader autograde`, `generate_feedback`, `formgrader` and `export` work here as in any course.
Autograding goes through the sandbox; keep the two lists of preprocessors as they are.
"""

from pathlib import Path

import autograder
from autograder.course import CourseFolder
from autograder.grading.page import PageExporter

c = get_config()  # noqa: F821  (nbgrader defines it)
here = Path(__file__).resolve().parent

c.CourseDirectory.root = str(here)
c.CourseDirectory.course_id = "{course_id}"
c.CourseDirectory.db_url = CourseFolder(here).database  # as course.json has it

c.Intake.course_folder = str(here)
c.SandboxExecute.course_folder = str(here)
c.Autograde.sanitize_preprocessors = [
    "autograder.grading.preprocessor.Intake",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
]
c.Autograde.autograde_preprocessors = [
    "autograder.grading.preprocessor.SandboxExecute",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
]
# Late penalties follow course.toml; they are kept apart from the scores.
c.AssignLatePenalties.plugin_class = "autograder.collecting.late_penalty.LatePenalty"
c.LatePenalty.course_folder = str(here)

# The feedback page: nbgrader's own with the tasks named, and with nothing in it that runs or loads.
c.GenerateFeedback.exporter_class = PageExporter
# (Not HTMLExporter: formgrader's pages are made by that one.)
c.PageExporter.template_name = "steerlab_feedback"
c.PageExporter.exclude_anchor_links = True
c.PageExporter.extra_template_basedirs = [autograder.TEMPLATES]

# What the pipeline makes is checked once at its end, not after every step.
c.NotebookExporter.optimistic_validation = True
'''


def init(path: Path, course: Course, database: str | None = None) -> CourseFolder:
    """Make a course folder for every assignment that has a release; raises CourseError.

    `database` is SQLAlchemy's address of an empty database for the gradebook; SQLite's in the
    folder when not given.
    """
    ready = [
        assignment
        for assignment in course.assignments.values()
        if course.release_notebook(assignment.id).is_file()
    ]
    if not ready:
        raise CourseError("No assignment has been built. Make the releases first: autograder build")
    folder = create_folder(path, course.repository, database)
    try:
        config = NBGRADER_CONFIG.format(course_id=course.id)
        (folder.root / "nbgrader_config.py").write_text(config, encoding="utf-8")
        create_gradebook(folder.database)
        if folder.gradebook.exists():
            folder.gradebook.chmod(0o600)
        for assignment in ready:
            add_assignment(folder, course, assignment)
    except BaseException:
        shutil.rmtree(folder.root, ignore_errors=True)
        raise
    return folder


def add_assignment(folder: CourseFolder, course: Course, assignment: Assignment) -> None:
    """Put an assignment into the folder and its gradebook, or bring it up to date there."""
    notebook = read_source(course, assignment)
    path = folder.root / "source" / assignment.id / f"{assignment.id}.ipynb"
    if path.is_file() and path.read_text("utf-8") == nbformat.writes(notebook) + "\n":
        return
    write_source(notebook, assignment, folder.root)
    try:
        config = generator_config(folder.root)
        config.CourseDirectory.course_id = course.id
        config.CourseDirectory.db_url = folder.database
        run_generator(assignment, config, database=True)
        _same_release(folder, course, assignment.id)
        due = datetime.fromisoformat(assignment.due) if assignment.due else None
        with Gradebook(folder.database, course.id) as gradebook:
            gradebook.update_or_create_assignment(assignment.id, duedate=due and str(due))
    except BaseException:
        path.unlink(missing_ok=True)  # so that the next call tries again
        raise


def _same_release(folder: CourseFolder, course: Course, assignment_id: str) -> None:
    """The release that nbgrader made here must be the one that students were given."""
    made = nbformat.read(
        folder.root / "release" / assignment_id / f"{assignment_id}.ipynb", as_version=4
    )
    given = nbformat.read(course.release_notebook(assignment_id), as_version=4)
    if [cell.source for cell in made.cells] != [cell.source for cell in given.cells]:
        raise CourseError(
            f"assignments/{assignment_id} is older than its source. "
            f"Make it anew: autograder build {assignment_id}"
        )
