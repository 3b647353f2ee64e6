"""Grade the one submission of a Gradescope container, and write its results.json.

    /autograder/source       the package, unpacked: a repository cut down to one assignment
    /autograder/submission   what the student handed in
    /autograder/results      where results.json goes

Root owns all three and closes them to everybody else. Student code runs at the level "uid"; where
that cannot be had the submission is left ungraded. What grades, and what is graded, is the same as
in `autograder grade`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..course import CourseError, HiddenTestsBroken, load_course
from ..grading.work import sandbox_settings
from ..sandbox import Isolation, SandboxUnavailable, UserSandbox
from ..terminal import DONE, MACHINERY_FAILED

SETTINGS = "gradescope.json"
TESTS_BROKEN = "the hidden tests are broken. Tell your instructor."


@dataclass(frozen=True)
class Container:
    """Gradescope's folders, and what the package was made for."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def submission(self) -> Path:
        return self.root / "submission"

    @property
    def results(self) -> Path:
        return self.root / "results"

    def settings(self) -> dict[str, Any]:
        """What `autograder gradescope-package` wrote; raises CourseError."""
        try:
            found: dict[str, Any] = json.loads((self.source / SETTINGS).read_text())
        except (OSError, ValueError) as error:
            raise CourseError(f"{self.source / SETTINGS} cannot be read ({error}).") from error
        return found

    def close_to_others(self) -> None:
        """Leave nothing of the grader's to any user but root, whatever modes it came with."""
        self.results.mkdir(exist_ok=True)
        for folder in (self.source, self.submission, self.results):
            if folder.is_dir():
                os.chown(folder, 0, 0, follow_symlinks=False)
                folder.chmod(0o700)  # nobody passes it, so what is inside needs no change


class Graded:
    """One run: what is known so far, for whichever file is written in the end."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.started = time.monotonic()
        self.isolation: Isolation | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def run(self) -> dict[str, Any]:
        """The content of results.json; raises CourseError, SandboxUnavailable, Refused."""
        import nbformat

        from ..grading.run import Runner, check_tests
        from ..intake import take_in
        from ..results import GRADED, environment_of, result_key
        from . import results_file

        container, settings = self.container, self.container.settings()
        course = load_course(container.source)
        assignment = course.assignment(settings["assignment"])
        secret = bytes.fromhex(settings["secret"])
        release = nbformat.read(course.release_notebook(assignment.id), as_version=4)
        clean = take_in(container.submission, assignment.id, release)
        sandbox = self.sandbox(settings)
        with ExitStack() as closing:
            closing.callback(sandbox.stop)
            # The sandbox imports for itself; meanwhile this process imports for the hidden tests.
            sandbox.launch()
            check_tests(course.hidden_tests(assignment.id), assignment)
            environment = environment_of(course, assignment)
            key = result_key(clean.notebook, environment, secret)
            sandbox.start()
            self.isolation = sandbox.isolation
            runner = Runner(sandbox, course, assignment, secret, environment)
            result = runner.run(key, clean.notebook, clean.repairs)
        # Nothing of the student's runs any more: from here on nobody else could write.
        assert self.isolation is not None
        if result.status != GRADED:
            print(result.reason)
            return results_file.ungraded(_for_students(result.reason), self.isolation, self.seconds)
        return results_file.graded(result, assignment, self.isolation, self.seconds)

    def sandbox(self, settings: dict[str, Any]) -> UserSandbox:
        """The sandbox of the level "uid", not yet started."""
        container = self.container
        course = load_course(container.source)
        return UserSandbox(
            sandbox_settings(
                course,
                course.assignment(settings["assignment"]),
                container.submission,
                container.results,
                allow_weaker=bool(settings["allow_weaker_sandbox"]),
            )
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade and write; returns the exit code, 0 unless the machinery failed."""
    parser = argparse.ArgumentParser(prog="run_autograder")
    parser.add_argument("--check", action="store_true", help="say what isolation there is here")
    parser.add_argument("root", type=Path, help="the folder that Gradescope calls /autograder")
    options = parser.parse_args(arguments)
    run = Graded(Container(options.root.resolve()))
    return check(run) if options.check else grade(run)


def check(run: Graded) -> int:
    """Print the isolation that submissions would have here."""
    try:
        run.container.close_to_others()
        with run.sandbox(run.container.settings()) as sandbox:
            print(f"Isolation: {sandbox.isolation}")
        return DONE
    except (CourseError, SandboxUnavailable, OSError) as error:
        print(f"ungraded: {error}")
        return MACHINERY_FAILED


def grade(run: Graded) -> int:
    """Write results.json, whatever happens."""
    from ..intake import Refused
    from . import results_file

    status = MACHINERY_FAILED
    try:
        run.container.close_to_others()
        content = run.run()
        status = DONE if "score" in content else MACHINERY_FAILED
    except Refused as refusal:
        content, status = results_file.ungraded(str(refusal), run.isolation, run.seconds), DONE
    except HiddenTestsBroken as error:
        print(error)
        content = results_file.ungraded(TESTS_BROKEN, run.isolation, run.seconds)
    except (CourseError, SandboxUnavailable) as error:
        content = results_file.ungraded(str(error), run.isolation, run.seconds)
    except Exception as error:
        traceback.print_exc()  # Gradescope shows it to instructors alone
        reason = f"the grader failed ({type(error).__name__}). Tell your instructor."
        content = results_file.ungraded(reason, run.isolation, run.seconds)
    _write(run.container.results, content)
    print(f"Isolation: {content['extra_data']['isolation']['level']}")
    print(content["output"].splitlines()[0])
    return status


def _for_students(reason: str) -> str:
    """A reason without what it says of hidden tests; instructors read the whole in the output."""
    return TESTS_BROKEN if "hidden tests" in reason else reason


def _write(folder: Path, content: dict[str, Any]) -> None:
    from ..results import write_whole

    folder.mkdir(mode=0o700, exist_ok=True)
    write_whole(folder / "results.json", json.dumps(content, ensure_ascii=False, indent=1))
