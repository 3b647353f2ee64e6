"""One assignment being graded: its release, environment, secret and store of results.

A session serves `autograder grade`, which runs submissions on workers, and nbgrader's own commands,
which run what has no stored result in this process: there the sandbox starts with the first such
notebook and stops with the session.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbformat import NotebookNode

from ..course import Assignment, Course, CourseError, CourseFolder, load_course, open_folder
from ..intake import Clean
from ..ledger import Ledger
from ..results import GRADED, Result, Store, environment_of, key_at, notebook_text, result_key
from ..sandbox import FULL, WEAKER, Sandbox, level_of, levels_down_to, sandbox_for
from .feedback import graded_notebook
from .rehearsal import require_full_marks, solution_of
from .work import Job, sandbox_settings

if TYPE_CHECKING:
    from .run import Runner


class GradingSession:
    """Grades clean notebooks of one assignment; a context manager.

    Grading asks for full isolation: a sandbox that cannot give it does not start, and no result
    made at a lower level is taken, unless `allow_weaker`.
    """

    def __init__(
        self,
        folder: CourseFolder,
        course: Course,
        assignment: Assignment,
        allow_weaker: bool = False,
    ) -> None:
        self.folder, self.course, self.assignment = folder, course, assignment
        self.levels = levels_down_to(WEAKER if allow_weaker else FULL)
        self.allow_weaker = allow_weaker
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
        #: Where nbgrader's own commands note what they record; `autograder grade` does so itself.
        self.ledger: Ledger | None = None
        self._runner: Runner | None = None
        self._sandbox: Sandbox | None = None
        self._rehearsed = False

    def key(self, notebook: NotebookNode) -> str:
        """The result key of a clean notebook, at full isolation."""
        return result_key(notebook, self.environment, self.folder.secret)

    def keys(self, notebook: NotebookNode) -> list[str]:
        """The result keys of a clean notebook at each level that will do, strongest first."""
        key = self.key(notebook)
        return [key_at(key, level) for level in self.levels]

    def accepts(self, result: Result) -> bool:
        """Whether a result was made at a level of isolation that will do."""
        return level_of(str(result.record.get("isolation", FULL))) in self.levels

    def stored(self, clean: Clean) -> Result | None:
        """The result that an equal notebook got under an equal grader, if there is one."""
        found = (self.store.get(key) for key in self.keys(clean.notebook))
        result = next((result for result in found if result is not None), None)
        return result and replace(result, repairs=clean.repairs)

    def job(self, clean: Clean) -> Job:
        """What a worker needs to grade a clean notebook."""
        return Job(
            key=self.key(clean.notebook),
            repository=self.course.repository,
            assignment=self.assignment.id,
            environment=self.environment,
            secret=self.folder.secret,
            notebook=notebook_text(clean.notebook),
            repairs=clean.repairs,
            allow_weaker=self.allow_weaker,
        )

    def grade(self, clean: Clean) -> Result:
        """The stored result of a clean notebook, or a new one, made in this process."""
        if (result := self.stored(clean)) is None:
            self.rehearse(self.run)
            result = self.run(clean)
            self.keep(result)
        return result

    def rehearse(self, run: Callable[[Clean], Result]) -> None:
        """See that the course's own solution gets full marks; its result is stored like any other.

        Raises SolutionLosesPoints, SolutionUngraded, and what `run` raises.
        """
        if self._rehearsed:
            return
        clean = solution_of(self.course, self.assignment, self.release)
        result = self.stored(clean) or run(clean)
        require_full_marks(result, self.course)
        self._rehearsed = True
        with suppress(OSError):  # a full disk: the line of each submission will say so
            self.keep(result)

    def run(self, clean: Clean) -> Result:
        """A new result of a clean notebook, made in this process; the store is not asked."""
        key = self.key(clean.notebook)
        return self._runner_here().run(key, clean.notebook, clean.repairs)

    def keep(self, result: Result) -> None:
        """Store what was graded; what the machinery left ungraded is tried again next time."""
        if result.status == GRADED:
            self.store.put(result)

    def page(self, result: Result) -> NotebookNode:
        """The notebook that goes into `autograded/`."""
        clean = nbformat.reads(result.notebook, as_version=4)
        return graded_notebook(result, clean, self.release)

    def _runner_here(self) -> Runner:
        """The runner of this process, with its sandbox started."""
        # Imported here: whoever only records need not wait for torch.
        from .run import Runner, check_tests

        if self._runner is None:
            course, assignment = self.course, self.assignment
            self._sandbox = sandbox_for(
                sandbox_settings(
                    course, assignment, self.folder.root, allow_weaker=self.allow_weaker
                )
            )
            # The sandbox imports for itself; meanwhile this process imports for the hidden tests.
            self._sandbox.launch()
            check_tests(course.hidden_tests(assignment.id), assignment)
            self._sandbox.start()
            secret = self.folder.secret
            self._runner = Runner(self._sandbox, course, assignment, secret, self.environment)
        return self._runner

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
        session.ledger = Ledger(folder.ledger)
        _sessions[folder.root, assignment_id] = session
        atexit.register(session.close)
    return session
