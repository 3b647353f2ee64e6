"""Every attack twice: against the product, and with the one defence that it meets switched off."""

from __future__ import annotations

import base64

import pytest
from autograder.commands import grade as grade_command
from autograder.commands.grade import print_rows
from autograder.grading.grade import Row
from autograder.results import UNGRADED
from rich.errors import MarkupError

from . import escaping, exhausting, forging, injecting, leaking, reading
from .arena import GOOD, Arena
from .attack import FULL_MARKS, Attack, leaked

MODULES = [forging, reading, escaping, exhausting, leaking, injecting]
ATTACKS = [attack for module in MODULES for attack in module.ATTACKS]
FAMILIES = {
    *("forged results", "patched libraries", "swallowed exceptions", "reading tests", "gradebook"),
    *("other students", "environment", "escaping by filesystem", "escaping by network"),
    *("escaping by signals", "escaping by descriptors", "escaping by /proc", "exhausting time"),
    *("exhausting memory", "exhausting processes", "exhausting disk", "exhausting output"),
    *("leaking through output", "leaking through exception text", "leaking through files"),
    *("RPC garbage", "surviving the grader", "attacking a concurrent submission"),
    "injection into feedback",
}
each = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


@each
def test_an_attack_gains_nothing_and_harms_nobody(arena: Arena, attack: Attack) -> None:
    trace = arena.defended(attack)
    assert trace.seen["gained"] == ""
    assert trace.score is None or trace.score <= attack.earns + 1e-6
    assert trace.seen.get("good", FULL_MARKS) == FULL_MARKS
    assert not trace.seen.get("hits")
    for text in (trace.said, arena.leaving(attack.name)):
        assert leaked(arena.secrets, text) == ""
    assert arena.real.marks(GOOD) == FULL_MARKS
    assert arena.strict.alive


@each
def test_with_its_defence_off_the_same_notebook_succeeds(arena: Arena, attack: Attack) -> None:
    assert arena.control(attack).seen["gained"]


def test_nothing_secret_leaves_with_the_report_any_table_or_any_page_of_all_of_them(
    arena: Arena,
) -> None:
    leaving = arena.leaving_together()
    assert leaked(arena.secrets, leaving) == ""
    for sign in (
        "Class report, A toy course",
        "submissions that are alike",
        "code,student,name,email",
        "student,name,email,section,group,status",
        "First Name,Last Name,SID",
        "SIS User ID",
        "Participant 9",
        "Final scores: ",
        "Feedback: 01_toy",
    ):
        assert sign in leaving, sign


def test_a_canary_is_found_in_every_disguise(arena: Arena) -> None:
    for canary in arena.secrets:
        coded = base64.b64encode(f"x{canary} and more".encode()).decode()
        for form in (canary, canary[::-1], canary.encode().hex(), coded):
            assert leaked(arena.secrets, f"said: {form}.") == canary
    assert leaked(arena.secrets, "said: nothing") == ""


def test_a_file_name_neither_breaks_nor_writes_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "[/red]01_toy (1).ipynb, \x1b]0;owned\x07\x1b[2J01_toy (2).ipynb"
    refused = Row("ada", UNGRADED, notes=(f"Several notebooks could be the submission ({names}).",))
    print_rows([refused])
    shown = capsys.readouterr().out
    assert "[/red]01_toy" in shown.replace("\n", "")
    assert "\x1b" not in shown
    monkeypatch.setattr(grade_command, "plain", str)
    with pytest.raises(MarkupError):
        print_rows([refused])


def test_there_are_forty_attacks_of_different_names_in_every_family() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 40
    assert {attack.family for attack in ATTACKS} == FAMILIES
    assert all(attack.defence for attack in ATTACKS)
