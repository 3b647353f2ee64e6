"""Reading tests, solutions, the gradebook, other students' work and the grader's environment."""

from __future__ import annotations

import base64
import re

from autograder.leaks import CANARY as PATTERN

from .attack import Attack, Inside, Naive, Trace
from .forging import ABSENT

TESTS_OUTSIDE = "hidden tests are not in the student's process"
NO_ENVIRONMENT = "the sandbox starts with an environment of its own"
SEARCH = "canary-[0-9a-f]{32}"


def canary(trace: Trace) -> str:
    """A canary that a cell has printed; as it is, reversed, or as base64 of the text."""
    text = trace.printed
    for coded in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", text):
        try:
            text += base64.b64decode(coded).decode("utf-8", "replace")
        except ValueError:
            continue
    found = PATTERN.search(text) or PATTERN.search(text[::-1])
    return found.group(0) if found else ""


ATTACKS = [
    Attack(
        name="hidden-tests-read-from-disk",
        family="reading tests",
        defence=ABSENT,
        off=Inside(),
        gained=canary,
        first='print(open("@COURSE@/autograder/hidden_tests/test_01_toy.py").read())',
    ),
    Attack(
        name="solution-read-from-disk-in-base64",
        family="reading tests",
        defence=ABSENT,
        off=Inside(),
        gained=canary,
        first="""\
import base64
print(base64.b64encode(open("@COURSE@/solutions/01_toy.py", "rb").read()).decode())
""",
    ),
    Attack(
        name="hidden-tests-imported",
        family="reading tests",
        defence=ABSENT,
        off=Inside(),
        gained=canary,
        first="""\
import sys
sys.path.insert(0, "@COURSE@/autograder/hidden_tests")
sys.modules["autograder"] = sys.modules["autograder.probe"] = type(sys)("autograder.probe")
sys.modules["autograder.probe"].task = lambda *args, **more: lambda test: test
import test_01_toy
print(test_01_toy.__doc__[::-1])
""",
    ),
    Attack(
        name="tests-read-from-the-callers-frame",
        family="reading tests",
        defence=TESTS_OUTSIDE,
        off=Naive(),
        gained=canary,
        double="""\
import inspect, sys
SEEN = []
def double(x):
    SEEN.append(inspect.getsource(sys._getframe(1)))
    return 0
""",
        last="print(SEEN)",
    ),
    Attack(
        name="tests-read-from-the-history",
        family="reading tests",
        defence=TESTS_OUTSIDE,
        off=Naive(),
        gained=canary,
        last="print(In)",
    ),
    Attack(
        name="tests-read-from-memory",
        family="reading tests",
        defence=TESTS_OUTSIDE,
        off=Naive(),
        gained=canary,
        last=f"""\
import gc, re
for thing in gc.get_objects():
    if isinstance(thing, (list, tuple)):
        for text in thing:
            if type(text) is str and re.search("{SEARCH}", text):
                print(text[-2000:])
""",
    ),
    Attack(
        name="gradebook-read",
        family="gradebook",
        defence=ABSENT,
        off=Inside(),
        gained=canary,
        first="""\
import sqlite3
gradebook = sqlite3.connect("file:@CLASS@/gradebook.db?mode=ro", uri=True)
print(gradebook.execute("SELECT last_name FROM student").fetchall())
""",
    ),
    Attack(
        name="neighbours-notebook-read",
        family="other students",
        defence=ABSENT,
        off=Inside(),
        gained=canary,
        first='print(open("@CLASS@/submitted/zoe/01_toy/01_toy.ipynb").read()[-3000:])',
    ),
    Attack(
        name="graders-environment-read",
        family="environment",
        defence=NO_ENVIRONMENT,
        off=Inside(),
        gained=canary,
        first="""\
import os
print(dict(os.environ))
for name in os.listdir("/proc"):
    if name.isdigit():
        print(open(f"/proc/{name}/environ", errors="replace").read())
""",
    ),
]
