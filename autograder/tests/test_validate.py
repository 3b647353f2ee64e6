"""Validation finds what is wrong with hidden tests, with the bank, and with the reasons given in it.

Here the toy course is graded in this process, without a sandbox; its answers can be trusted.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from argparse import ArgumentParser
from dataclasses import replace

import nbformat
import pytest
from autograder.commands import validate as command
from autograder.course import CourseError, Limits, load_course
from autograder.grading.trial import Trial, worst
from autograder.probe import seed_for
from autograder.results import GRADED, UNGRADED, Result, TaskResult, TestResult
from autograder.validation import slices
from autograder.validation import validate as validation
from autograder.validation.bank import read_survivors, survivor_entry, survivors_file
from autograder.validation.validate import QUICK, Plan, Validation
from autograder.validation.verdict import Report
from hypothesis import given
from hypothesis import strategies as st
from toy_course import make_toy_course

from autograder import cells, terminal

FEW = Plan(seeds=2, wrong_seeds=2, mutants=0)
MUTANTS = Plan(seeds=1, wrong_seeds=1, mutant_seeds=1, elsewhere=False)
RIGHT = '"""{}"""\nTASK = "double"\nEXPECT = "keeps"\n\ndef double(x):\n    return {}\n'
WRONG = RIGHT.replace("keeps", "loses")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A toy course with a bank of one right and one wrong answer."""
    made = make_toy_course(tmp_path_factory.mktemp("built") / "course")
    bank(made, "double_by_product", RIGHT.format("By product.", "2 * x"))
    bank(made, "double_square", WRONG.format("The square.", "x * x"))
    return made.repository


@pytest.fixture
def course(built, tmp_path):
    """A copy of that course to change."""
    return load_course(shutil.copytree(built, tmp_path / "course", symlinks=True))


def bank(course, name, text):
    folder = course.repository / "autograder" / "mistakes" / "01_toy"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text)


def explain(course, *entries):
    survivors_file(course, course.assignment("01_toy")).write_text("\n".join(entries))


class Trusted:
    """Answers as `Student` does, from cells that were run in this process."""

    dead = None

    def __init__(self, notebook):
        self._names = {}
        for cell in notebook.cells:
            if cells.role(cell) in (cells.ANSWER, cells.AUTHOR) and cell.cell_type == "code":
                exec(cell.source, self._names)  # the toy course's own cells

    def __getattr__(self, name):
        return self._names[name]

    def release(self):
        pass


class Grader:
    """Grades jobs here, and keeps them."""

    def __init__(self, course):
        self.course, self.jobs = course, {}

    def __call__(self, jobs):
        self.jobs |= {f"{len(self.jobs)}-{name}": job for name, job in jobs.items()}
        for name, job in jobs.items():
            student = Trusted(nbformat.reads(job.notebook, as_version=4))
            draws = [self._draw(student, job, secret) for secret in job.trial.secrets]
            yield name, Result("", "01_toy", GRADED, tasks=tuple(worst(draws)))

    def _draw(self, student, job, secret):
        path, results = self.course.hidden_tests("01_toy"), []
        module = {"__name__": "test_01_toy"}
        exec(path.read_text(), module)
        for name, points in job.trial.points(self.course.assignment("01_toy").tasks).items():
            seed = seed_for(secret, "01_toy", name, path)
            tests = tuple(
                TestResult(
                    function.__name__, mark.kwargs["weight"], passes(function, student, seed)
                )
                for function in module.values()
                for mark in getattr(function, "pytestmark", [])
                if mark.args[0] == name
            )
            share = sum(t.weight for t in tests if t.passed) / sum(t.weight for t in tests)
            results.append(TaskResult(name, points, points * share, tests))
        return results


def passes(function, student, seed):
    try:
        function(student, seed)
    except Exception:
        return False
    return True


def validated(course, plan=FEW, grader=None):
    return Validation(course, course.assignment("01_toy"), plan).run(grader or Grader(course))


def weaken(course, old, new):
    path = course.hidden_tests("01_toy")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_sound_assignment_is_valid(course):
    report = validated(course, MUTANTS)
    assert report.problems == []
    assert (report.solution, report.release) == (5, 0)
    assert report.kept == ["double_by_product"]
    assert report.killed == ["double_square"]
    assert report.mutants == report.mutants_made == report.mutants_killed >= 15
    assert "kill rate 100%" in report.text()


def test_a_wrong_answer_that_loses_nothing_is_a_problem(course):
    bank(course, "double_again", WRONG.format("Right, in truth.", "x + x"))
    report = validated(course)
    assert not report.passed
    [problem] = report.problems
    assert "double_again (Right, in truth.) loses nothing in double under 2 of 2 draws" in problem
    assert "1/2 lose" in report.text()


def test_a_wrong_answer_must_lose_under_every_draw(course):
    bank(course, "double_even", WRONG.format("Right for even x.", "2 * x if x % 2 == 0 else 0"))
    weaken(course, "-(seed % 1000) - 3", "-2")  # leaves the other test, which draws odd ones too
    problems = validated(course, replace(FEW, wrong_seeds=8)).problems
    assert [p for p in problems if "double_even" in p and "of 8 draws" in p]


def test_a_score_that_depends_on_the_draw_is_told_with_the_test_that_decides(course):
    lucky = "2 * x if x > 0 and x % 2 == 0 else 0"
    bank(course, "double_lucky", WRONG.format("Right for even x above 0.", lucky))
    report = validated(course, replace(FEW, wrong_seeds=8))
    assert report.passed
    [unsteady] = report.unsteady
    assert "double_lucky" in unsteady
    assert unsteady.endswith("draws: test_doubles_a_positive_number")
    assert f"luck decides    {unsteady}" in report.text()


def test_each_draw_of_a_wrong_answer_or_mutant_has_a_process_of_its_own(course):
    grader = Grader(course)
    validated(course, replace(FEW, seeds=25, wrong_seeds=4), grader)
    alone = [job for job in grader.jobs.values() if "x * x" in job.notebook]
    assert [len(job.trial.secrets) for job in alone] == [1] * len(alone)
    drawn = {job.trial.secrets for job in alone}
    assert len(drawn) == 4
    right = [job for job in grader.jobs.values() if "By product." in job.notebook]
    assert sorted(len(job.trial.secrets) for job in right) == [1, 4, 10, 10]


def test_a_right_answer_that_loses_under_a_single_draw_is_a_problem(course):
    bank(course, "double_most", RIGHT.format("Wrong for some.", "x + x + (x % 4 == 3)"))
    problems = validated(course, replace(FEW, seeds=12)).problems
    assert [p for p in problems if "double_most" in p and "is right but loses" in p]


def test_points_lost_in_another_task_are_a_problem(course):
    wrong = "OFFSET = 4\n\ndef double(x):\n    return 3 * x\n"
    bank(course, "double_spoils", f'"""Spoils."""\nTASK = "double"\nEXPECT = "loses"\n\n{wrong}')
    [problem] = validated(course).problems
    assert problem == "double_spoils (Spoils.) loses points elsewhere: shift"
    assert validated(course, replace(FEW, elsewhere=False)).passed


def test_a_solution_that_loses_points_is_a_problem(course):
    weaken(course, "== value + 10", "== value + 11")
    problems = validated(course).problems
    assert "the solution loses points in shift: test_shifts_by_both" in problems


def test_a_release_with_points_is_a_problem(course):
    weaken(course, "assert student.double(value) == 2 * value", "assert student.double")
    report = validated(course)
    assert report.release == 2
    assert "the untouched release gets 2 points" in report.problems


def test_a_mutant_that_survives_shows_a_hole_and_how_to_note_it(course):
    weaken(course, "assert student.shift(value, 0) == value + 3", "assert student.shift(0, 0)")
    weaken(course, "student.shift(value, 7) == value + 10", "student.shift(value, 0) == value + 3")
    report = validated(course, MUTANTS)
    assert [p for p in report.problems if "a mutant survives under 1 of 1 draws: shift, " in p]
    assert report.mutation_score < 0.95
    [*entries] = tomllib.loads("\n".join(report.unexplained))["survivor"]
    assert {"task": "shift", "becomes": "moved_by_course_offset = x + OFFSET"}.items() <= {
        key: value
        for entry in entries
        for key, value in entry.items()
        if "x + OFFSET" in str(entry)
    }.items()


def test_a_reason_explains_a_survivor_and_equivalents_do_not_count(course):
    weaken(course, "student.shift(value, 7) == value + 10", "student.shift(value, 0) == value + 3")
    found = validated(course, MUTANTS)
    assert found.unexplained
    entries = [e.replace('reason = ""', 'reason = "equivalent: by 0"') for e in found.unexplained]
    explain(course, *entries)
    report = validated(course, MUTANTS)
    assert report.passed
    assert report.equivalent == len(report.survivors) == len(entries)
    assert report.mutation_score == 1
    explain(course, *(entry.replace("equivalent", "survives") for entry in entries))
    assert "at least 95% must" in validated(course, MUTANTS).problems[-1]
    alone = validated(course, replace(MUTANTS, tasks=("double",)))  # too few for a share of them
    assert not any("at least 95% must" in problem for problem in alone.problems)


def test_reasons_that_explain_nothing_any_more_are_a_problem(course):
    killed = Validation(course, course.assignment("01_toy"), MUTANTS).tried[0]
    explain(
        course,
        survivor_entry(killed.id, "survives: it does not"),
        survivor_entry((*killed.id[:4], 99), "survives: there is no such mutant"),
    )
    problems = validated(course, replace(MUTANTS, mutant_seeds=3, mutants=None)).problems
    assert [p for p in problems if "explains a mutant that does lose points" in p]
    assert [p for p in problems if "explains a mutant that there is not" in p]


def test_a_few_draws_do_not_settle_that_a_reason_is_not_needed(course):
    killed = Validation(course, course.assignment("01_toy"), MUTANTS).tried[0]
    explain(course, survivor_entry(killed.id, "survives: under some draws"))
    assert validated(course, MUTANTS).passed


def test_what_the_machinery_did_not_grade_is_a_problem_and_no_kill(course):
    grader = Grader(course)

    def broken(jobs):
        for name, result in grader(jobs):
            wrong = "x * x" in jobs[name].notebook
            yield name, Result("", "01_toy", UNGRADED, reason="no kernel") if wrong else result

    report = validated(course, grader=broken)
    assert report.killed == []
    assert "double_square (The square.) was not graded: no kernel" in report.problems


def test_one_task_is_validated_alone(course):
    grader = Grader(course)
    plan = replace(MUTANTS, tasks=("shift",))
    made = Validation(course, course.assignment("01_toy"), plan)
    report = made.run(grader)
    assert "01_toy, shift alone: " in report.text()
    assert (report.solution, report.points) == (3, 3)
    assert {mistake.task for mistake in made.mistakes} <= {"shift"}
    assert {mutant.task for mutant in made.mutants} == {"shift"}
    everything = Validation(course, course.assignment("01_toy"), MUTANTS)
    assert {mutant.task for mutant in everything.mutants} == {"double", "shift"}


def test_a_reason_for_another_task_is_left_alone_where_one_is_validated(course):
    explain(course, survivor_entry(("double", "sign", "x", "-x", 1), "survives: no such mutant"))
    problem = "explains a mutant that there is not: double"
    assert any(problem in found for found in validated(course, plan=MUTANTS).problems)
    report = validated(course, plan=replace(MUTANTS, tasks=("shift",)))
    assert not any(problem in found for found in report.problems)


def test_a_worker_of_another_course_stops_the_validation(course):
    with pytest.raises(CourseError, match="differs"):
        validated(course, grader=lambda jobs: iter([("0", CourseError("It differs."))]))


def test_a_slice_holds_the_answer_and_what_its_names_come_from(course):
    made = Validation(course, course.assignment("01_toy"), QUICK)
    cut = slices.slice_for(
        made.solution, "shift", "def shift(x, by):\n    return x + by + OFFSET\n"
    )
    sources = [cell.source for cell in cut.cells]
    assert len(sources) == 2
    assert "OFFSET = 3" in sources[0]
    assert sources[1].startswith("def shift")
    alone = slices.slice_for(made.solution, "double", "def double(x):\n    return x\n")
    assert len(alone.cells) == 1


def test_a_task_that_needs_more_than_its_names_say_is_tried_in_the_whole_notebook(course):
    hidden = "OFFSET = 3\n", "globals()['OFF' + 'SET'] = 3\n"
    path = course.solution_source("01_toy")
    path.write_text(path.read_text().replace(*hidden))
    grader = Grader(course)
    made = Validation(course, course.assignment("01_toy"), FEW)
    made.run(grader)
    assert made.sliced == {"double": True, "shift": False}


@pytest.mark.parametrize(
    ("source", "gives", "takes"),
    [
        ("import torch as t\nx = t.ones(y)", {"t", "x"}, {"t", "y"}),
        ("def f(a):\n    b = a + c\n    return [d + b for d in a]", {"f"}, {"c"}),
        ("def f():\n    global g\n    g = h", {"f", "g"}, {"h"}),
        ("class A:\n    size = n\n    def f(self): return size", {"A"}, {"n", "size"}),
        ("%pip install x", set(), set()),
    ],
)
def test_names_that_a_cell_gives_and_takes(source, gives, takes):
    found = slices.names_of(source)
    assert found.gives == gives
    assert takes <= found.takes


def test_the_worst_draw_is_kept_and_says_how_many_lost():
    full, half = TaskResult("a", 2, 2), TaskResult("a", 2, 1)
    [kept] = worst([[full], [half], [full]])
    assert (kept.score, kept.note) == (1, "lost in 1 of 3 draws")


def test_a_trial_gives_each_draw_a_submissions_wall_time():
    limits = Limits(submission_wall_seconds=60)
    assert Trial((b"",)).limits(limits) == limits
    assert Trial((b"", b"a", b"b")).limits(limits).submission_wall_seconds == 180


def test_a_trial_shortens_the_time_of_a_call_and_never_lengthens_it():
    limits = Limits(call_cpu_seconds=5)
    assert Trial((b"",), call_seconds=2).limits(limits).call_cpu_seconds == 2
    assert Trial((b"",), call_seconds=9).limits(limits) == limits
    assert Trial((b"",), tasks=("b",)).points({"a": 1, "b": 2}) == {"b": 2}


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=30)


@given(st.tuples(TEXT, TEXT, TEXT, TEXT, st.integers(1, 9)))
def test_an_entry_says_in_toml_which_mutant_is_meant(key):
    [entry] = tomllib.loads(survivor_entry(key, "survives: so"))["survivor"]
    names = ("task", "operator", "line", "becomes")
    assert (*(entry[name] for name in names), entry.get("occurrence", 1)) == key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[survivor]\n", "cannot be read"),
        ('[[survivor]]\ntask = "double"\n', "entry 1 lacks the key 'operator'"),
        (survivor_entry(("a", "b", "c", "d", 1), "because"), "must begin with 'equivalent: '"),
        (survivor_entry(("a", "b", "c", "d", 1), "survives: "), "must begin with"),
        (survivor_entry(("a", "b", "c", "d", 1), "survives: x\n") * 2, "repeats"),
    ],
)
def test_a_reason_that_cannot_be_used_is_refused(tmp_path, text, message):
    path = tmp_path / "survivors.toml"
    path.write_text(text.replace("[[survivor]]", "\n[[survivor]]"))
    with pytest.raises(CourseError, match=message):
        read_survivors(path)


def run_command(course, *words):
    parser = ArgumentParser()
    command.arguments(parser)
    options = parser.parse_args(words)
    options.repository = course.repository
    return command.run(options)


def test_the_command_exits_with_1_and_writes_its_figures(course, tmp_path, monkeypatch, capsys):
    plans = []

    def found(course, assignment, plan, *_):
        plans.append(plan)
        draws = {"right": plan.seeds, "wrong": plan.wrong_seeds, "mutants": plan.mutant_seeds}
        return Report(assignment.id, draws=draws, problems=["a hole"] if plan.seeds > 5 else [])

    monkeypatch.setattr(validation, "validate", found)
    figures = tmp_path / "figures.json"
    assert run_command(course, "--quick", "--all", "--json", str(figures)) == terminal.DONE
    assert run_command(course, "--quick", "--seeds", "7") == terminal.CHECK_FAILED
    assert plans == [QUICK, replace(QUICK, seeds=7)]
    assert json.loads(figures.read_text())["01_toy"]["passed"] is True
    assert "problem: a hole" in capsys.readouterr().out


def test_the_command_refuses_what_it_cannot_do(course):
    with pytest.raises(CourseError, match="not both"):
        run_command(course, "01_toy", "--all")
    with pytest.raises(CourseError, match="Unknown assignment"):
        run_command(course, "02_toy")
    with pytest.raises(CourseError, match="01_toy has no task 'triple': it has double, shift"):
        run_command(course, "01_toy", "--task", "shift", "--task", "triple")
    with pytest.raises(CourseError, match="name it"):
        run_command(course, "--task", "shift")
    course.release_notebook("01_toy").unlink()
    with pytest.raises(CourseError, match="autograder build 01_toy"):
        run_command(course, "01_toy")
