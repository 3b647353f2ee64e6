"""Colab: a badge that leads there, a first cell that changes nothing Colab has, forms, and the way back."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import re

import nbformat
import pytest
from autograder.build import BADGE
from autograder.course import load_course
from autograder.intake import clean_notebook
from autograder.publish import readme
from colab_packages import (
    LIBRARY,
    NoIndex,
    Package,
    Runtime,
    ask_pip,
    our_requirements,
    packages_in,
    plan,
    read_facts,
)
from packaging.requirements import Requirement
from steerlab.handin import check_notebook
from steerlab.hub import KNOWN

from autograder import cells

COURSE = load_course()
IDS = list(COURSE.assignments)
RUNTIMES = read_facts()
MOST_ADDED = 20
FORM = re.compile(r"^(?P<name>\w+) = (?P<value>.+?)  #@param (?P<spec>.+)$", re.MULTILINE)


@pytest.fixture(params=IDS)
def release(request):
    return nbformat.read(COURSE.release_notebook(request.param), as_version=4)


@pytest.fixture(params=RUNTIMES, ids=[runtime.name for runtime in RUNTIMES])
def runtime(request):
    return request.param


def badge(assignment: str) -> str:
    return BADGE.format(repository=COURSE.student_repository, release=COURSE.release, id=assignment)


def install_cell(notebook):
    return next(cell for cell in notebook.cells if cell.cell_type == "code")


# ------------------------------------------------------------------- badge and first cell


def test_every_notebook_and_both_front_pages_carry_the_badge_of_course_toml(release):
    (assignment,) = {m for m in IDS if f"graded: {m}/" in nbformat.writes(release)}
    assert release.cells[0].source == badge(assignment)
    assert badge(assignment) in (COURSE.repository / "README.md").read_text("utf-8")
    assert badge(assignment) in readme(COURSE, [COURSE.assignment(assignment)], [])


def test_the_first_cell_installs_once_and_neither_restarts_nor_logs_in(release):
    cell = install_cell(release)
    assert "install" in cell.metadata.tags
    lines = cell.source.splitlines()
    assert lines[0].startswith("#@title")
    (line,) = [line for line in lines if "pip" in line]
    where = f"git+https://github.com/{COURSE.student_repository}@{COURSE.release}#subdirectory=lib"
    assert line.strip() == f'%pip install -q "steerlab[pretrained] @ {where}"'
    # Where steerlab is there, as in grading and on laptops, the cell is over in no time.
    assert 'if importlib.util.find_spec("steerlab") is None:' in lines
    for word in ("restart", "kill", "exit", "login", "token", "--upgrade", "-U ", "uninstall"):
        assert word not in cell.source


# ------------------------------------------------------------------- packages


@pytest.mark.parametrize("extras", [(), ("pretrained",)], ids=["plain", "pretrained"])
def test_nothing_that_colab_has_is_changed_and_little_is_added(runtime, extras):
    done = plan(our_requirements(*extras), runtime)
    assert done.changed == {}
    assert done.unknown == {}, "refresh the facts: python autograder/tests/colab_packages.py"
    assert len(done.added) + 1 <= MOST_ADDED  # steerlab itself is one
    assert "nbgrader" not in done.added


def test_the_documents_say_how_many_packages_are_added():
    most = max(len(plan(our_requirements("pretrained"), each).added) + 1 for each in RUNTIMES)
    for name in ("student-guide.md", "instructor-guide.md"):
        text = (COURSE.repository / "docs" / name).read_text("utf-8")
        assert f"adds {most} packages, itself counted" in " ".join(text.split()), name


def test_the_facts_hold_both_runtimes_of_colab():
    assert [each.python for each in RUNTIMES] == ["3.13", "3.12"]
    for each in RUNTIMES:
        assert len(each.installed) > 600
        assert each.known.keys().isdisjoint(each.installed)


@pytest.mark.parametrize(
    ("requirement", "moved"),
    [
        ("numpy>=2.3", "numpy"),
        ("torch>=2.12", "torch"),
        ("ipywidgets>=8", "ipywidgets"),
        ("ipython>=8.10", "ipython"),  # nbgrader's demand: why it must never get there
    ],
)
def test_a_requirement_that_would_move_a_package_of_colab_is_noticed(runtime, requirement, moved):
    assert moved in plan([requirement], runtime).changed


def test_a_package_that_is_added_may_move_nothing_either():
    known = {
        "new": Package("1.0", ("middle; python_version >= '3.12'", "pandas; extra == 'all'")),
        "middle": Package("2.0", ("numpy<2", "old; python_version < '3.12'")),
    }
    runtime = Runtime("made up", "3.13", {"numpy": "2.1.3"}, known)
    done = plan(["New>=0.5"], runtime)
    assert done.added == {"new", "middle"}
    assert done.changed == {"numpy": "middle asks for numpy<2, Colab has 2.1.3"}
    assert done.unknown == {}


def test_a_requirement_without_facts_is_no_requirement_met():
    runtime = Runtime("made up", "3.13", {"numpy": "2.1.3"}, {"new": Package("1.0")})
    assert plan(["nowhere"], runtime).unknown.keys() == {"nowhere"}
    assert plan(["new>=2"], runtime).unknown.keys() == {"new"}
    assert plan(["numpy[fast]"], runtime).unknown.keys() == {"numpy"}


def test_this_environment_pins_what_the_facts_were_worked_out_with():
    """A pinned package beyond a requirement of ours would make Colab another place than grading."""
    pins = dict(
        line.split("==")
        for line in (LIBRARY.parents[1] / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    )
    for wanted in map(Requirement, our_requirements("pretrained")):
        assert wanted.specifier.contains(pins[wanted.name.lower()], prereleases=True), wanted


@pytest.mark.check
def test_pips_own_resolver_agrees(runtime):
    try:
        found = packages_in(ask_pip(our_requirements("pretrained"), runtime))
    except NoIndex as error:
        pytest.skip(f"no package index in reach ({str(error)[:200]})")
    assert found.keys().isdisjoint(runtime.installed)
    assert len(found) + 1 <= MOST_ADDED
    assert found.keys() >= plan(our_requirements(), runtime).added


# ------------------------------------------------------------------- forms


def forms(notebook):
    """(name, value, spec) of each line that Colab shows as a field of a form."""
    return [
        (found["name"], ast.literal_eval(found["value"]), found["spec"])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for found in FORM.finditer(cell.source)
    ]


def test_every_form_line_is_one_that_colab_understands(release):
    text = "\n".join(cell.source for cell in release.cells if cell.cell_type == "code")
    assert text.count("@param") == len(forms(release))
    assert "# @" not in text
    for name, value, spec in forms(release):
        choices, options = re.fullmatch(r"(\[.*?\])? ?(\{.*\})?", spec).groups()
        if choices:
            assert value in json.loads(choices), name
        else:
            given = json.loads(re.sub(r"(\w+):", r'"\1":', options))
            assert isinstance(value, str) == (given["type"] == "string"), name
            if given["type"] == "slider":
                assert given["min"] <= value <= given["max"], name
                steps = (value - given["min"]) / given["step"]
                assert steps == pytest.approx(round(steps)), name


@pytest.mark.parametrize("assignment", [each for each in IDS if not each.startswith("07")])
def test_a_form_picks_the_model_and_others_turn_the_knobs_of_an_exploration(assignment):
    notebook = nbformat.read(COURSE.release_notebook(assignment), as_version=4)
    (first, value, spec), *others = forms(notebook)
    assert (first, value) == ("MODEL", "tiny")
    assert json.loads(spec.partition("]")[0] + "]") == list(KNOWN)
    assert len(others) >= 2
    for cell in notebook.cells:
        if cell.cell_type == "code" and "#@param" in cell.source and "MODEL =" not in cell.source:
            assert "explore" in cell.metadata.tags
            assert cell.source.startswith("#@title ")


# ------------------------------------------------------------------- and back


def through_colab(notebook):
    """Colab's metadata in the place of everybody else's, and ids of its own."""
    for number, cell in enumerate(notebook.cells):
        identifier = hashlib.sha256(str(number).encode()).hexdigest()[:12]
        cell["id"] = identifier
        cell.metadata = nbformat.from_dict({"id": identifier})
        if cell.cell_type == "code":
            cell.metadata["outputId"] = identifier
            cell.metadata["colab"] = {"base_uri": "https://localhost:8080/"}
            cell.execution_count = number
    notebook.metadata = nbformat.from_dict(
        {"colab": {"provenance": []}, "accelerator": "GPU", "language_info": {"name": "python"}}
    )
    return notebook


def test_a_notebook_back_from_colab_is_checked_like_any_other(release, tmp_path):
    (assignment,) = {m for m in IDS if f"graded: {m}/" in nbformat.writes(release)}
    path = tmp_path / f"{assignment}.ipynb"
    nbformat.write(release, path)
    before = check_notebook(path)
    nbformat.write(through_colab(release), path)
    assert check_notebook(path) == before
    tasks = [finding.message for finding in before]
    assert any("is not answered yet" in message for message in tasks)


def test_a_model_that_a_form_picked_is_noted_and_no_problem(tmp_path):
    notebook = nbformat.read(COURSE.release_notebook(IDS[0]), as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('MODEL = "tiny"', 'MODEL = "gpt2"')
    path = tmp_path / f"{IDS[0]}.ipynb"
    nbformat.write(through_colab(notebook), path)
    found = check_notebook(path)
    assert not [finding for finding in found if finding.level == "problem"]
    assert any("gives the embedded model" in finding.message for finding in found)


@pytest.mark.parametrize("assignment", [each for each in IDS if not each.startswith("07")])
def test_whoever_turned_the_knobs_on_colab_is_graded_as_if_nobody_had(assignment):
    """Without ids and tags, a form with other values is still taken for what it is: no own code."""
    release = nbformat.read(COURSE.release_notebook(assignment), as_version=4)
    turned = through_colab(copy.deepcopy(release))
    for cell in turned.cells:
        if cell.cell_type == "code" and cell.source.startswith("#@title "):
            cell.source = re.sub(r"= -?[\d.]+(  #@param)", r"= 1\1", cell.source)
            cell.source = re.sub(r'= ".*?"(  #@param)', r'= "haiku"\1', cell.source)
    assert turned != release
    clean = clean_notebook(turned, assignment, release).notebook
    roles = [cells.role(cell) for cell in clean.cells]
    assert cells.ADDED not in roles
    assert roles.count(cells.EXPLORE) == sum(
        "explore" in cell.metadata.get("tags", []) for cell in release.cells
    )
