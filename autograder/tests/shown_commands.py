"""The commands that the documents show in fenced blocks, and the table of what runs each of them.

A block is one of commands if its first line begins with a known program, or if it is marked `sh`;
the unmarked block that follows it, if it is none, shows what its last command prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md")
PROGRAMS = frozenset(
    {
        *("autograder", "steerlab", "make", "git", "cd", "cp", "mkdir", "python", "python3"),
        *("pip", "jupyter", "nbgrader", "torchrun", "conda", "docker", "curl"),
        *(
            "podman",
            "dask",
            "source",
            "sudo",
            "apt-get",
            "pytest",
            "ruff",
            "mypy",
            "unzip",
            "export",
        ),
        *(".venv/bin/autograder", ".venv/bin/steerlab", ".venv/bin/python", "./setup.sh"),
    }
)
SHELL = frozenset({"sh", "bash", "shell", "console"})

RUN = "autograder/tests/test_documents_run.py::"
CLASS = RUN + "test_the_commands_about_a_class_run_in_the_order_of_the_readme"
GUIDE = RUN + "test_the_instructor_guide_prints_what_it_shows"
AUTHOR = RUN + "test_the_author_guide_prints_what_it_shows"
CLONE = RUN + "test_a_student_gets_the_course_and_checks_a_notebook"
INSTALL = RUN + "test_a_student_installs_the_course_and_opens_it"
MAKE = RUN + "test_make"
PIPELINE = RUN + "test_the_steps_from_texts_to_a_steered_model_run_in_their_order"

DOCTOR = "lib/tests/test_planning.py::test_the_command_prints_a_row_for_every_model_and_ends_with_one_line"
EXPLORE = (
    "autograder/tests/test_browser.py::test_a_feature_is_picked_turned_up_and_read_in_the_text"
)
CONTAINER = (
    "autograder/tests/test_dockerfile.py"
    "::test_the_set_up_runs_in_a_copy_of_what_the_image_has_by_then"
)

GUIDE_FILE = "docs/instructor-guide.md"
HOME_CLASS = "--course ~/spring"
#: A row for each command as its document shows it: the document, the command, and the test that runs it,
#: its own or one that does the same to smaller things.
TABLE: tuple[tuple[str, str, str], ...] = (
    ("README.md", "make demo", MAKE),
    ("README.md", "make test", MAKE),
    ("README.md", "make check", MAKE),
    ("README.md", "autograder init ~/spring", CLASS),
    (
        "README.md",
        f"autograder collect 01_mean_diff --from canvas submissions.zip {HOME_CLASS}",
        CLASS,
    ),
    ("README.md", f"autograder grade 01_mean_diff {HOME_CLASS}", CLASS),
    ("README.md", f"autograder report 01_mean_diff {HOME_CLASS}", CLASS),
    ("README.md", f"autograder explain 01_mean_diff amara_okafor {HOME_CLASS}", CLASS),
    ("README.md", f"autograder grade 01_mean_diff --regrade {HOME_CLASS}", CLASS),
    (
        "README.md",
        f"autograder export 01_mean_diff --format canvas --into grades.csv {HOME_CLASS}",
        CLASS,
    ),
    ("README.md", f"autograder feedback-zip 01_mean_diff {HOME_CLASS}", CLASS),
    ("README.md", f"autograder gradescope-package 01_mean_diff {HOME_CLASS}", CLASS),
    ("README.md", f"autograder forget amara_okafor {HOME_CLASS}", CLASS),
    ("README.md", "steerlab collect concepts residuals --tokens 2000000", PIPELINE),
    (
        "README.md",
        "steerlab train --config 8k --data residuals --out sae --activation topk",
        PIPELINE,
    ),
    ("README.md", "steerlab find sae --data residuals", PIPELINE),
    ("README.md", "steerlab steer sae ocean --dose 0.4", PIPELINE),
    ("README.md", "steerlab evaluate --out sweep", PIPELINE),
    (GUIDE_FILE, "make demo", MAKE),
    (GUIDE_FILE, "autograder init ~/spring", GUIDE),
    (
        GUIDE_FILE,
        "autograder collect 01_mean_diff --from canvas ~/Downloads/submissions.zip "
        f"--times ~/Downloads/submissions.json {HOME_CLASS}",
        GUIDE,
    ),
    (GUIDE_FILE, f"autograder grade 01_mean_diff {HOME_CLASS}", GUIDE),
    (GUIDE_FILE, f"autograder report 01_mean_diff {HOME_CLASS} --names --similarity", GUIDE),
    (GUIDE_FILE, f"autograder explain 01_mean_diff farid_haddad {HOME_CLASS}", GUIDE),
    (GUIDE_FILE, f"autograder grade 01_mean_diff {HOME_CLASS} --regrade", GUIDE),
    (
        GUIDE_FILE,
        f"autograder export 01_mean_diff --format canvas --into ~/Downloads/grades.csv {HOME_CLASS}",
        GUIDE,
    ),
    (GUIDE_FILE, f"autograder gradescope-package 01_mean_diff {HOME_CLASS}", GUIDE),
    (
        GUIDE_FILE,
        "autograder validate 01_mean_diff",
        "autograder/tests/test_validate.py::test_the_command_exits_with_1_and_writes_its_figures",
    ),
    ("docs/author-guide.md", "autograder new 08_my_topic", AUTHOR),
    ("docs/author-guide.md", "autograder build 08_my_topic", AUTHOR),
    ("docs/author-guide.md", "autograder validate 08_my_topic --quick", AUTHOR),
    ("docs/author-guide.md", "autograder init ~/trial", AUTHOR),
    ("docs/author-guide.md", "mkdir -p ~/trial/submitted/ada/08_my_topic", AUTHOR),
    (
        "docs/author-guide.md",
        "cp solutions/08_my_topic/08_my_topic.ipynb ~/trial/submitted/ada/08_my_topic/",
        AUTHOR,
    ),
    ("docs/author-guide.md", "mkdir -p ~/trial/submitted/ben/08_my_topic", AUTHOR),
    (
        "docs/author-guide.md",
        "cp assignments/08_my_topic/08_my_topic.ipynb ~/trial/submitted/ben/08_my_topic/",
        AUTHOR,
    ),
    ("docs/author-guide.md", "autograder grade 08_my_topic --course ~/trial", AUTHOR),
    ("docs/author-guide.md", "git add --all", AUTHOR),
    ("docs/author-guide.md", "autograder publish ~/students --assignment 08_my_topic", AUTHOR),
    ("docs/pipeline.md", "steerlab collect concepts residuals --tokens 2000000", PIPELINE),
    (
        "docs/pipeline.md",
        "steerlab train --config 8k --data residuals --out sae --activation topk",
        PIPELINE,
    ),
    ("docs/pipeline.md", "steerlab find sae --data residuals", PIPELINE),
    ("docs/pipeline.md", "steerlab steer sae ocean --dose 0.4", PIPELINE),
    (
        "docs/pipeline.md",
        "torchrun --nproc-per-node 2 -m steerlab.cli train --config 65k --data residuals --out sae",
        "lib/tests/test_pipeline_train.py::"
        "test_two_processes_give_the_curve_of_one_with_the_doubled_batch",
    ),
    (
        "docs/pipeline.md",
        "steerlab find sae --data residuals --endpoint https://…/v1 --endpoint-model NAME",
        "lib/tests/test_pipeline_find.py::test_find_and_steer_on_the_command_line",
    ),
    (
        "docs/student-guide.md",
        "git clone https://github.com/steerlab-course/steerlab-students",
        CLONE,
    ),
    ("docs/student-guide.md", "cd steerlab-students", CLONE),
    ("docs/student-guide.md", "python -m venv .venv && . .venv/bin/activate", INSTALL),
    ("docs/student-guide.md", "pip install -c constraints.txt ./lib jupyterlab", INSTALL),
    ("docs/student-guide.md", "jupyter lab assignments", INSTALL),
    ("docs/student-guide.md", "steerlab check 01_mean_diff.ipynb", CLONE),
    ("docs/student-guide.md", "steerlab doctor", DOCTOR),
    ("docs/student-guide.md", "pip install -c constraints.txt './lib[explore]'", INSTALL),
    ("docs/student-guide.md", "steerlab explore", EXPLORE),
    (GUIDE_FILE, "docker build -t steerlab-grader .", CONTAINER),
    (
        GUIDE_FILE,
        "docker run --rm -it --security-opt seccomp=unconfined --cap-add SYS_ADMIN "
        "--cap-add NET_ADMIN "
        "-v ~/spring:/class steerlab-grader grade 01_mean_diff",
        "autograder/tests/test_dockerfile.py"
        "::test_the_guide_builds_this_image_and_says_what_it_needs_to_run",
    ),
)


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it, without its comment; output: what the next block shows of it."""

    document: str
    command: str
    output: str = ""


def shown_commands(document: str) -> list[Shown]:
    """The commands of a document, in its order."""
    found: list[Shown] = []
    follows = False  # whether the block before was one of commands
    for mark, body in blocks((REPOSITORY / document).read_text("utf-8")):
        commands = _commands_of(mark, body)
        if not commands and mark == "" and follows:
            found[-1] = replace(found[-1], output=body)
        found += [Shown(document, command) for command in commands]
        follows = bool(commands)
    return found


def all_documents() -> list[str]:
    """The documents whose commands are looked at."""
    paths = [path for pattern in DOCUMENTS for path in sorted(REPOSITORY.glob(pattern))]
    return [str(path.relative_to(REPOSITORY)) for path in paths]


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a Markdown text: what stands behind the fence, and what it holds."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)


def _commands_of(mark: str, body: str) -> list[str]:
    lines = body.replace("\\\n", " ").splitlines()
    first = next((line for line in lines if line.strip()), "")
    known = first.removeprefix("$ ").split(" ")[0] in PROGRAMS
    if mark not in SHELL and not (mark == "" and known):
        return []
    bare = (re.sub(r"(^|\s)#.*$", "", line.removeprefix("$ ")).strip() for line in lines)
    return [re.sub(r"\s+", " ", line) for line in bare if line]


def rows_of(test: str, document: str) -> list[Shown]:
    """The commands of a document that the table gives to this test, in the document's order."""
    mine = {command for where, command, by in TABLE if where == document and by == test}
    return [shown for shown in shown_commands(document) if shown.command in mine]
