"""One real sandbox for all tests of a session, and notebooks that run cells in it."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from autograder.sandbox import Limits, Sandbox, Settings
from kernel_notebook import Notebook

#: The files that take longest, longest first: the others fill what time is left beside them.
LONGEST = (
    "test_gradescope_attacks.py",
    "test_attacks.py",
    "test_weaker_grading.py",
    "test_regrade.py",
    "test_gradescope.py",
    "test_example_class.py",
    "test_grade.py",
    "test_intake_fuzz.py",
    "test_attacks_in_the_browser.py",
    "test_postgresql.py",
    "test_isolation_levels.py",
    "test_probe_calls.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


# Written into the withheld parts of the test's own copy of steerlab: nowhere in a sandbox may it be.
CANARY = "canary" + secrets.token_hex(12)
WITHHELD_MODULE = '''
"""A module with something to withhold."""
import functools

KEPT = "kept constant"


@functools.lru_cache
def secret_sum(a: int, b: int = 2) -> int:
    """Add two numbers, as the docstring may say."""
    # a comment with CANARY
    constant = "CANARY"

    def helper(x):
        """CANARY in a nested function."""
        return x + len("CANARY")

    return helper(a) + b + len(constant)  # CANARY
    # CANARY trails


def free(x):
    return x + 1


class Adder:
    """Adds."""

    size = 3

    def __call__(self, x):
        return x + len("CANARY")

    def kept(self): return "this stays"


class AllGone:
    """Every method of this class goes."""

    def one(self): return "CANARY"

    @property
    def two(self):
        return "CANARY"
'''
WITHHELD = (
    "steerlab.secret_lab:secret_sum",
    "steerlab.secret_lab:Adder.__call__",
    "steerlab.secret_lab:AllGone",
)


@pytest.fixture(scope="session")
def canary_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of steerlab with one more module, whose withheld parts carry the canary."""
    spec = importlib.util.find_spec("steerlab")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    source = Path(next(iter(spec.submodule_search_locations)))
    package = tmp_path_factory.mktemp("package") / "steerlab"
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "secret_lab.py").write_text(WITHHELD_MODULE.replace("CANARY", CANARY))
    return package


@pytest.fixture(scope="session")
def sandbox(canary_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox that all tests share."""
    hidden = tmp_path_factory.mktemp("course")
    (hidden / "gradebook.db").write_text(CANARY)
    settings = Settings(withheld=WITHHELD, package=canary_package, hidden=(hidden,))
    with Sandbox(settings) as running:
        yield running


@pytest.fixture
def notebook(sandbox: Sandbox) -> Iterator[Notebook]:
    """A fresh kernel."""
    running = Notebook(sandbox)
    yield running
    running.close()


@pytest.fixture
def limited(sandbox: Sandbox) -> Iterator[Callable[[Limits], Notebook]]:
    """Makes fresh kernels with limits of their own."""
    made: list[Notebook] = []

    def make(limits: Limits) -> Notebook:
        made.append(Notebook(sandbox, limits))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def canary() -> str:
    return CANARY
