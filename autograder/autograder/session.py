"""One assignment being graded: its release, hidden tests, secret, result store and sandbox.

A session is shared by `autograder grade` and by nbgrader's own commands. The sandbox starts with
the first notebook that has no stored result, and stops with the session.
"""

from __future__ import annotations

import atexit
from dataclasses import replace
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .course import Assignment, Course, CourseError, CourseFolder, load_course, open_folder
from .feedback import graded_notebook
from .intake import Clean
from .results import GRADED, Result, Store, environment_of, result_key
from .run import Runner, check_tests
from .sandbox import Limits, Sandbox, Settings

#: The level that grading asks for: a sandbox that cannot give it does not start.
ISOLATION = "full"


class GradingSession:
    """Grades clean notebooks of one assignment; a context manager."""

    def __init__(self, folder: CourseFolder, course: Course, assignment: Assignment) -> None:
        self.folder, self.course, self.assignment = folder, course, assignment
        path = course.release_notebook(assignment.id)
        if not path.is_file():
            raise CourseError(f"{path} is missing. Make it: autograder build {assignment.id}")
        if not course.hidden_tests(assignment.id).is_file():
            raise CourseError(
                f"{course.hidden_tests(assignment.id)} is missing: nothing can be scored."
            )
        self.release: NotebookNode = nbformat.read(path, as_version=4)
        self.environment = environment_of(course, assignment)
        self.store = Store(folder.results)
        self._runner: Runner | None = None
        self._sandbox: Sandbox | None = None

    def key(self, notebook: NotebookNode) -> str:
        """The result key of a clean notebook."""
        return result_key(notebook, self.environment, self.folder.secret, ISOLATION)

    def stored(self, clean: Clean) -> Result | None:
        """The result that an equal notebook got under an equal grader, if there is one."""
        return self.store.get(self.key(clean.notebook))

    def grade(self, notebook: NotebookNode, repairs: tuple[str, ...] = ()) -> Result:
        """Grade a clean notebook, or take its stored result."""
        key = self.key(notebook)
        if (result := self.store.get(key)) is not None:
            return replace(result, repairs=repairs)
        result = self.runner().run(key, notebook, repairs)
        if result.status == GRADED:
            self.store.put(result)
        return result

    def page(self, result: Result) -> NotebookNode:
        """The notebook that goes into `autograded/`."""
        clean = nbformat.reads(result.notebook, as_version=4)
        return graded_notebook(result, clean, self.release)

    def runner(self) -> Runner:
        """The runner, with its sandbox started."""
        if self._runner is None:
            limits = self.course.limits
            settings = Settings(
                withheld=self.assignment.withheld,
                hidden=(self.course.repository, self.folder.root),
                package=self.course.repository / "lib" / "steerlab",
                limits=Limits(
                    cpu_seconds=int(limits.submission_wall_seconds),
                    memory_bytes=limits.memory_mb << 20,
                ),
            )
            self._sandbox = Sandbox(settings)
            runner = Runner(self._sandbox, self.course, self.assignment, self.folder.secret)
            # The sandbox imports for itself; meanwhile this process imports for the hidden tests.
            self._sandbox.launch()
            check_tests(self.course.hidden_tests(self.assignment.id), self.assignment.id)
            self._sandbox.start()
            self._runner = runner
        return self._runner

    @property
    def isolation(self) -> str:
        """The isolation in force, or that every stored result was made under."""
        return str(self._sandbox.isolation) if self._sandbox is not None else ISOLATION

    def close(self) -> None:
        """Stop the sandbox; safe to call again."""
        if self._sandbox is not None:
            self._sandbox.stop()
            self._runner = None

    def __enter__(self) -> GradingSession:
        _sessions[self.folder.root, self.assignment.id] = self
        return self

    def __exit__(self, *exception: object) -> None:
        _sessions.pop((self.folder.root, self.assignment.id), None)
        self.close()


#: Sessions of this process, so that nbgrader's preprocessors use the one that is grading.
_sessions: dict[tuple[Path, str], GradingSession] = {}


def session_for(root: Path, assignment_id: str) -> GradingSession:
    """The process's session for one course folder and assignment; a new one is closed at exit."""
    folder = open_folder(root)
    session = _sessions.get((folder.root, assignment_id))
    if session is None:
        course = load_course(folder.repository())
        session = GradingSession(folder, course, course.assignment(assignment_id))
        _sessions[folder.root, assignment_id] = session
        atexit.register(session.close)
    return session
