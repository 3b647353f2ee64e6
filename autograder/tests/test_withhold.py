"""Withheld means absent: from the copy's source, and from everything a student's kernel can reach."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from autograder.sandbox import Sandbox, layout
from autograder.sandbox.withhold import copy_without, cut

SOURCE = '''
import functools


def public(x):
    """Say what it does.

    With a formula: y = x.
    """
    # SECRET comment
    def nested():
        return "SECRET"
    return nested() + x  # SECRET
    # SECRET after the last statement

    # SECRET after a blank line


# a comment that stays
@functools.wraps(
    public
)
async def decorated(
    x: "Float[Tensor, 'pos d_model']",  # SECRET-free
    *, k=3,
) -> int:
    return SECRET


def one_line(x): return "SECRET"


if True:
    class Outer:
        constant = 1

        def method(self): "Doc."; return "SECRET"

        class Inner:
            def deep(self):
                return "SECRET"

            def stays(self):
                return "stays"
'''
NAMES = {"public", "decorated", "one_line", "Outer.method", "Outer.Inner.deep"}


def test_bodies_go_and_everything_else_stays():
    text, missing = cut(SOURCE, "steerlab.m", set(NAMES))
    assert missing == set()
    assert "SECRET" not in text
    for kept in (
        "stays",
        "With a formula: y = x.",
        "# a comment that stays",
        "@functools.wraps(public)",
        "async def decorated(x: \"Float[Tensor, 'pos d_model']\", *, k=3) -> int:",
        "Doc.",
        "constant = 1",
    ):
        assert kept in text, kept
    ast.parse(text)


def test_a_cut_function_says_that_the_grader_withholds_it():
    text, _ = cut("def f(x):\n    return x\n", "steerlab.directions", {"f"})
    (function,) = ast.parse(text).body
    assert isinstance(function, ast.FunctionDef)
    assert "steerlab.directions.f is what you are asked to write; the grader withholds it" in text
    assert isinstance(function.body[-1], ast.Raise)


def test_a_class_loses_every_method():
    text, missing = cut(SOURCE, "steerlab.m", {"Outer"})
    assert missing == set()
    assert '"stays"' not in text
    assert "constant = 1" in text


def test_unknown_names_are_reported_by_name(tmp_path):
    package = tmp_path / "steerlab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "directions.py").write_text("def f(): pass\n")
    names = ("steerlab.directions:f", "steerlab.directions:g", "steerlab.gone:h", "f")
    with pytest.raises(ValueError, match=r"steerlab\.directions:g, steerlab\.gone:h"):
        copy_without(package, tmp_path / "copy", names)
    assert not (tmp_path / "copy" / "steerlab").exists()


@pytest.mark.parametrize("kind", ["module", "package"])
def test_of_a_withheld_module_or_package_nothing_stays_but_the_reason(tmp_path, kind):
    package = tmp_path / "lib"
    inner = package / "answers" if kind == "package" else package
    inner.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (inner / ("__init__.py" if kind == "package" else "answers.py")).write_text("def f(): SECRET")
    if kind == "package":
        (inner / "more.py").write_text("SECRET = 1")
        (inner / "data.json").write_text('"SECRET"')
    copy = copy_without(package, tmp_path / "copy", ["lib.answers"])
    assert not [path for path in copy.rglob("*") if path.is_file() and "SECRET" in path.read_text()]
    said = subprocess.run(
        [sys.executable, "-c", "import lib.answers"],
        cwd=copy.parent,
        capture_output=True,
        text=True,
    ).stderr
    assert "lib.answers does what you are asked to write; the grader withholds it" in said
    with pytest.raises(ValueError, match=r"the name lib\.nowhere:"):
        copy_without(package, tmp_path / "another", ["lib.nowhere"])


def test_tests_bytecode_and_backups_are_not_copied(tmp_path):
    package = tmp_path / "steerlab"
    for name in ("a.py", "a.py~", "a.py.orig", "tests/test_a.py", "__pycache__/a.pyc", ".hidden"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("")
    (package / "tiny").mkdir()
    (package / "tiny" / "model.safetensors").write_text("x")
    copy = copy_without(package, tmp_path / "copy", ())
    files = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert files == {"a.py", "tiny/model.safetensors", "_withheld.py"}


def test_installed_copies_and_editable_hooks_are_masked(tmp_path, monkeypatch):
    """A file system is shown with a pretended environment in it, and searched from inside."""
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    traces = {
        "steerlab/directions.py": "SECRET",
        "steerlab/__pycache__/directions.pyc": "SECRET",
        "steerlab-0.1.0.dist-info/RECORD": "SECRET",
        "__editable__.steerlab-0.1.0.pth": "SECRET",
        "__editable___autograder_0_1_0_finder.py": "SECRET",
        "__pycache__/__editable___steerlab_finder.pyc": "SECRET",
        "some_other_name.pth": "/home/me/steerlab/lib SECRET",
        "autograder.egg-link": "SECRET",
        "numpy/kept.py": "kept",
    }
    for name, text in traces.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    (tmp_path / "env" / "bin").mkdir()
    (tmp_path / "env" / "bin" / "autograder").write_text("SECRET")
    shown = [path for path in layout.SYSTEM if Path(path).is_dir()]
    monkeypatch.setattr(layout, "_shown_folders", lambda: [*shown, str(tmp_path / "env")])
    (tmp_path / "inside").mkdir()
    layout.write_inside(tmp_path / "inside")
    hidden = tmp_path / "env" / "gradebook"
    hidden.mkdir()
    (hidden / "marks").write_text("SECRET")
    arguments = layout.mounts(tmp_path / "inside", (hidden,))
    seen = subprocess.run(
        ["bwrap", *arguments, "grep", "-r", "-l", "-e", "SECRET", "-e", "kept", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    # bubblewrap itself fails on a missing mount point, so an empty answer would not pass either
    assert [Path(path).name for path in seen.stdout.split()] == ["kept.py"], seen


@pytest.fixture(scope="module")
def kernel(sandbox: Sandbox) -> Iterator:
    from kernel_notebook import Notebook

    running = Notebook(sandbox)
    running.run("import steerlab.secret_lab as lab, inspect, importlib, gc, sys")
    yield running
    running.close()


def test_calling_a_withheld_function_raises_withheld_error(kernel):
    seen = kernel.run("""
for call in (lambda: lab.secret_sum(1), lambda: lab.Adder()(2), lambda: lab.AllGone().two):
    try:
        call()
    except RuntimeError as error:
        print(type(error).__name__, error)
""")
    assert seen.text.count("WithheldError") == 3
    assert "steerlab.secret_lab.Adder.__call__ is what you are asked to write" in seen.text


def test_what_is_not_withheld_still_works(kernel):
    seen = kernel.run("print(lab.free(1), lab.KEPT, lab.Adder().kept(), lab.Adder.size)")
    assert seen.text == "2 kept constant this stays 3\n"
    assert "as the docstring may say" in kernel.run("print(lab.secret_sum.__doc__)").text


@pytest.mark.parametrize(
    "attempt",
    [
        "print(inspect.getsource(lab), inspect.getsource(lab.secret_sum.__wrapped__))",
        "print(open(lab.__file__).read())",
        "print(inspect.getsource(importlib.reload(lab)))",
        "sys.modules.pop('steerlab.secret_lab'); import steerlab.secret_lab as again; "
        "print(inspect.getsource(again)); again.free(1)",
        "scope = {}; exec(compile(open(lab.__file__).read(), 'copy', 'exec'), scope); "
        "print(scope['secret_sum'].__wrapped__.__code__.co_consts)",
        "inner = lab.secret_sum.__wrapped__; print(inner.__code__.co_consts, inner.__closure__)",
        "print([f.__code__.co_consts for f in gc.get_objects() if inspect.isfunction(f)])",
        "print([o for o in gc.get_objects() if isinstance(o, dict) and 'helper' in o])",
        "print(importlib.util.cache_from_source(lab.__file__)); import linecache; "
        "print(linecache.getlines(lab.__file__))",
    ],
)
def test_no_way_of_looking_finds_a_withheld_body(kernel, canary, attempt):
    seen = kernel.run("import importlib.util\n" + attempt)
    assert seen.text, seen.error
    assert canary not in seen.text


def test_no_file_holds_a_withheld_body(kernel, canary):
    """Searched in all but the system's and other people's packages, without naming the canary."""
    shifted = [byte + 1 for byte in canary.encode()]
    seen = kernel.run(f"""
import os
needle = bytes({shifted!r})
shift = bytes((byte + 1) % 256 for byte in range(256))
count = 0
for root in ("/lab", "/home", "/student", "/tmp", "/etc", "/dev/shm", "/work", "/root"):
    for folder, folders, files in os.walk(root):
        if folder.endswith("site-packages"):
            folders[:] = []  # the next test's; masked traces are empty
        for name in files:
            try:
                data = open(os.path.join(folder, name), "rb").read()
            except OSError:
                continue
            count += 1
            if needle in data.translate(shift):
                print("found in", folder, name)
print(count > 50)
""")
    assert seen.text == "True\n", seen


#: Looks through all memory that can be written; the needle is shifted by one, and so not made here.
SEARCH = """
shift = bytes((byte + 1) % 256 for byte in range(256))

def search(needle):
    read = found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps.read().splitlines():
            start, end = (int(n, 16) for n in line.split()[0].split("-"))
            if line.split()[1][:2] != "rw" or "[v" in line:
                continue
            for at in range(start, end, 1 << 24):
                try:
                    memory.seek(at)
                    data = memory.read(min(end - at, (1 << 24) + 64))
                except (OSError, OverflowError, ValueError):
                    break
                read += len(data)
                found += needle in data.translate(shift)
    return found, read
"""


def test_no_memory_holds_a_withheld_body(kernel, canary):
    shifted = [byte + 1 for byte in canary.encode()]
    seen = kernel.run(f"{SEARCH}found, read = search(bytes({shifted!r}))\nprint(found, read > 5e7)")
    assert seen.text == "0 True\n", seen


def test_the_search_of_memory_would_find_what_is_there(kernel):
    seen = kernel.run(f"""{SEARCH}
word = "".join(["plan", "ted", "word"])
found, _ = search(bytes(byte + 1 for byte in word.encode()))
print(found > 0)
""")
    assert seen.text == "True\n"
