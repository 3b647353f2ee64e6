"""The roster is read whole or refused with the line at fault; nobody is ever guessed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from autograder.collecting.roster import Person, Roster, canvas_slugs, read_roster, spoken
from autograder.course import CourseError, CourseFolder
from hypothesis import given
from hypothesis import strategies as st

HEADER = "id,name,email,lms_id,section,group,extension_hours\n"


def roster(tmp_path, text, encoding="utf-8"):
    (tmp_path / "roster.csv").write_bytes(text.encode(encoding))
    return read_roster(CourseFolder(tmp_path))


def test_every_column_is_read(tmp_path):
    (ada,) = roster(tmp_path, HEADER + 'ada,"Lovelace, Ada",ada@x.org,17,North,alpha,24\n')
    assert (ada.id, ada.email, ada.lms_id, ada.group) == ("ada", "ada@x.org", "17", "alpha")
    assert ada.extension("01_toy") == timedelta(hours=24)


def test_only_the_id_must_be_there(tmp_path):
    assert roster(tmp_path, "id\nada\nben\n") == [Person("ada"), Person("ben")]


def test_an_extension_may_be_for_one_assignment(tmp_path):
    text = "id,extension_hours,extension_hours:02_b\nada,1,48\nben,,0\ncy,,\n"
    ada, ben, cy = roster(tmp_path, text)
    assert ada.extension("01_a") == timedelta(hours=1)
    assert ada.extension("02_b") == timedelta(hours=48)
    assert ben.extension("02_b") == timedelta(0)
    assert cy.extension("02_b") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_spreadsheets_write_is_read(tmp_path, encoding, delimiter):
    text = "id,name\r\nada,Ada Ünal\r\n,\r\n".replace(",", delimiter)
    assert roster(tmp_path, text, encoding) == [Person("ada", name="Ada Ünal")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\nAda\n", "line 2: there is no column id"),
        ("id\n../ada\n", "line 2: the id '../ada' cannot name a folder"),
        ("id\n.ada\n", "cannot name a folder"),
        ("id\nada\nADA\n", "line 3: the id ADA stands in line 2 already"),
        ("id,lms_id\nada,1\nben,1\n", "line 3: the lms_id 1 stands in line 2"),
        ("id,extension_hours\nada,tomorrow\n", "extension_hours = tomorrow is not a number"),
        ("id,extension_hours\nada,-1\n", "not a number of hours from 0 up"),
    ],
)
def test_a_wrong_roster_names_the_line(tmp_path, text, words):
    with pytest.raises(CourseError, match=words):
        roster(tmp_path, text)


def test_a_roster_that_is_no_text_or_is_missing_says_what_to_do(tmp_path):
    with pytest.raises(CourseError, match="the columns id, name, email"):
        read_roster(CourseFolder(tmp_path))
    with pytest.raises(CourseError, match="Save it as CSV UTF-8"):
        roster(tmp_path, "id,name\nada,Ünal\n", "latin-1")


def test_names_are_compared_as_they_are_spoken():
    assert spoken("Lovelace, Ada") == spoken("ada  LOVELACE") == "ada lovelace"
    assert spoken("O'Neil-Díaz, José") == spoken("José O'Neil-Díaz")


def test_whoever_fits_twice_is_nobody():
    twins = Roster([Person("a", name="Kim Lee"), Person("b", name="Lee, Kim"), Person("c")])
    assert twins.one("name", "Kim Lee") is None
    assert twins.count("name", "Kim Lee") == 2
    assert twins.one("slug", "leekim") is None
    assert twins.one("email", "") is None


def test_canvas_writes_the_last_name_first():
    assert canvas_slugs("Lovelace, Ada") == {"lovelaceada"}
    assert "lovelaceada" in canvas_slugs("Ada Lovelace")
    assert "vanrossumguido" in canvas_slugs("Guido van Rossum")
    assert canvas_slugs("Núñez, O'Neil") == {"núñezoneil"}


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
def test_a_question_never_has_a_wrong_answer(names):
    people = [Person(f"s{number}", name=name) for number, name in enumerate(names)]
    found = Roster(people)
    for person in people:
        answer = found.one("name", person.name)
        assert answer is None or answer == person
