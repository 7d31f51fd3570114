"""Who of a team is given a case, whatever is known of its people."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.escalation.assignment import Ask, Pool, Terms
from services.escalation.rules import AssignBy
from services.people.presence import Member

NAMES = st.sampled_from([f"{name}@example.org" for name in "abcdef"])
SKILLS = st.frozensets(st.sampled_from(["refunds", "taxes"]), max_size=2)
TEAMS = st.dictionaries(NAMES, st.tuples(SKILLS, st.booleans()), max_size=6)
LOADS = st.dictionaries(NAMES, st.integers(0, 8))
MOST = st.none() | st.integers(1, 8)


def pool(
    members: dict[str, tuple[frozenset[str], bool]],
    loads: dict[str, int] | None = None,
    turns: dict[str, str] | None = None,
) -> Pool:
    listed = [Member(email, *members[email]) for email in sorted(members)]
    return Pool({"team": listed}, Counter(loads or {}), dict(turns or {}))


def ask(
    by: AssignBy = AssignBy.LEAST_LOADED,
    most: int | None = None,
    skills: frozenset[str] = frozenset(),
    unfit: str | None = None,
) -> Ask:
    return Ask("rule", "team", Terms(by, most, skills), unfit)


@given(TEAMS, LOADS, st.sampled_from(AssignBy), MOST, SKILLS, st.none() | NAMES, st.integers(0, 40))
def test_nobody_is_given_what_they_may_not_have(
    members: dict[str, tuple[frozenset[str], bool]],
    loads: dict[str, int],
    by: AssignBy,
    most: int | None,
    skills: frozenset[str],
    unfit: str | None,
    cases: int,
) -> None:
    found, before = pool(members, loads), Counter(loads)
    asked = ask(by, most, skills, unfit)
    given_to = [found.give(asked) for _ in range(cases)]
    fit = {name for name, (can, here) in members.items() if here and skills <= can} - {unfit}
    for one in given_to:
        assert (one.person is None) == bool(one.why_not)
        assert one.person is None or one.person in fit
    after = before + Counter(one.person for one in given_to if one.person is not None)
    assert all(most is None or after[name] <= max(most, before[name]) for name in fit)
    free = any(most is None or after[name] < most for name in fit)
    assert all(one.person is not None for one in given_to) or not free


@given(TEAMS, LOADS, st.integers(1, 30))
def test_least_loaded_keeps_loads_close(
    members: dict[str, tuple[frozenset[str], bool]], loads: dict[str, int], cases: int
) -> None:
    found = pool(members, loads)
    here = {name for name, (_, there) in members.items() if there}
    for _ in range(cases):
        least = min(((found.loads[name], name) for name in here), default=None)
        person = found.give(ask()).person
        assert person == (least[1] if least is not None else None)


@given(TEAMS, st.none() | NAMES, st.integers(1, 4))
def test_round_robin_gives_everybody_as_many(
    members: dict[str, tuple[frozenset[str], bool]], last: str | None, rounds: int
) -> None:
    found = pool(members, turns={"rule": last} if last else {})
    here = sorted(name for name, (_, there) in members.items() if there)
    order = [found.give(ask(AssignBy.ROUND_ROBIN)).person for _ in range(rounds * len(here))]
    assert Counter(order) == Counter(here * rounds)
    after = [name for name in here if last is None or name > last]
    assert order[: len(here)] == after + [name for name in here if name not in after]


def test_rules_take_turns_by_themselves() -> None:
    found = pool({name: (frozenset(), True) for name in ("a", "b")}, turns={"rule": "a"})
    other = ask(AssignBy.ROUND_ROBIN)._replace(rule="other")
    assert found.give(other).person == "a"
    assert found.give(ask(AssignBy.ROUND_ROBIN)).person == "b"
    assert found.gone_round == {"rule", "other"}
    assert found.turns == {"rule": "b", "other": "a"}


CAN = frozenset({"refunds"})


@pytest.mark.parametrize(
    ("members", "asked", "words"),
    [
        ({}, ask(), "nobody in team 'team' may review"),
        (
            {"a": (frozenset[str](), True)},
            ask(skills=CAN),
            "nobody in team 'team' who has the skill refunds may review",
        ),
        (
            {"a": (CAN, False)},
            ask(skills=CAN),
            "the one who has the skill refunds is not there now",
        ),
        (
            {"a": (CAN, True), "b": (CAN, True), "c": (CAN, True)},
            ask(most=12, skills=CAN),
            "all 3 who have the skill refunds are at 12 open cases",
        ),
        (
            {"a": (CAN, True), "b": (CAN, False), "c": (CAN, False)},
            ask(most=12),
            "of the 3 of team 'team' 2 are not there now and 1 is at 12 open cases",
        ),
        ({"a": (CAN, True)}, ask(unfit="a"), "the one of team 'team' is the one who disputes it"),
    ],
)
def test_why_nobody_is_given_it_is_said_in_words(
    members: dict[str, tuple[frozenset[str], bool]], asked: Ask, words: str
) -> None:
    assert pool(members, dict.fromkeys("abc", 12)).give(asked).why_not == words
