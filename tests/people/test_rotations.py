"""Schedules as people write them, and who has the duty by them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import InvalidInput
from services.kit.working_time import WorkingCalendar
from services.people.presence import Absence, Presence, works
from services.people.rotations import (
    Layer,
    Override,
    Rotation,
    holes_in_words,
    layers,
    read,
    turns,
)

BERLIN = ZoneInfo("Europe/Berlin")
WHOLE = """
timezone: Europe/Berlin
layers:
  - people: [a@x.org, B@x.org]
    every: 1w
    start: 2026-11-02T09:00
  - people: [c@x.org]
    every: 12h
    start: 2026-11-02 09:00:00
"""
A, B, C, D = (f"{name}@x.org" for name in "abcd")
ALL = dict.fromkeys((A, B, C, D))
EVERYBODY = Presence(ALL)
OFFICE = ((9 * 60, 17 * 60),)
WEEK = WorkingCalendar(BERLIN, (OFFICE, OFFICE, OFFICE, OFFICE, OFFICE, (), ()))


def moment(clock: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(clock).replace(tzinfo=zone).astimezone(UTC)


def rotation(text: str = WHOLE, *overrides: Override) -> Rotation:
    return Rotation(*layers(read(text).model_dump_json()), overrides)


def away(person: str, begin: str, end: str, stand_in: str | None = None) -> Absence:
    return Absence(1, person, moment(begin), moment(end), stand_in)


# --- as it is written -----------------------------------------------------------------------


def test_turns_go_round_from_the_start() -> None:
    found = rotation()
    for clock, person in [
        ("2026-11-02T08:59", None),
        ("2026-11-02T09:00", A),
        ("2026-11-09T08:59", A),
        ("2026-11-09T09:00", B),
        ("2026-11-16T09:00", A),
    ]:
        assert found.on_duty(moment(clock), EVERYBODY) == person, clock


@pytest.mark.parametrize(
    ("written", "instead", "pointer", "problem"),
    [
        ("Europe/Berlin", "Mars", "/timezone", "line 2: there is no time zone 'Mars'"),
        ("1w", "1m", "/layers/0/every", "line 5: '1m' is no length of a turn"),
        ("1w", "0d", "/layers/0/every", "'0d' is no length"),
        ("1w", "1000d", "/layers/0/every", "'1000d' is no length"),
        ("1w", "7", "/layers/0/every", "'7' is no length"),
        ("2026-11-02T09:00", "2026-11-02", "/layers/0/start", "line 6: '2026-11-02' is no date"),
        ("2026-11-02T09:00", "soon", "/layers/0/start", "'soon' is no date with a time"),
        ("2026-11-02T09:00", "9999-11-02T09:00", "/layers/0/start", "is no date with a time"),
        ("2026-11-02T09:00", "2026-11-02T09:00+01:00", "/layers/0/start", "it has a zone"),
        ("a@x.org", "ada", "/layers/0/people/0", "line 4: 'ada' is no e-mail address"),
        ("[a@x.org, B@x.org]", "[]", "/layers/0/people", "line 4: it is no list of people"),
        ("[a@x.org, B@x.org]", "a@x.org", "/layers/0/people", "it is no list of people"),
        ("every: 12h", "each: 12h", "/layers/1/each", "line 8: 'each' is no key here"),
    ],
)
def test_what_is_no_schedule_is_refused_with_its_line(
    written: str, instead: str, pointer: str, problem: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(WHOLE.replace(written, instead))
    found = {p.pointer: p for p in refused.value.problems}
    assert problem in found[pointer].problem
    assert found[pointer].hint


@pytest.mark.parametrize("text", ["", "[]", "{", "timezone: UTC", "timezone: UTC\nlayers: []"])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read(text)


def test_a_schedule_is_bounded() -> None:
    layer = "  - {people: [a@x.org], every: 1d, start: 2026-11-02T09:00}\n"
    with pytest.raises(InvalidInput, match="11 layers"):
        read("timezone: UTC\nlayers:\n" + layer * 11)
    people = ", ".join(f"p{n}@x.org" for n in range(101))
    with pytest.raises(InvalidInput, match="101 people"):
        read(WHOLE.replace("a@x.org, B@x.org", people))


# --- handovers and summer time --------------------------------------------------------------


def _layer(zone: str, clock: str, count: int, unit: str, people: tuple[str, ...] = (A, B)) -> Layer:
    return Layer(people, datetime.fromisoformat(clock), ZoneInfo(zone), count, unit)


@pytest.mark.parametrize(
    ("zone", "start", "unit"),
    [
        ("Europe/Berlin", "2026-10-24T09:00", "d"),  # 25 hours to the next
        ("Europe/Berlin", "2026-03-28T09:00", "d"),  # 23 hours
        ("America/New_York", "2026-10-30T09:00", "w"),
        ("Australia/Lord_Howe", "2026-10-03T09:00", "d"),  # half an hour
    ],
)
def test_days_and_weeks_are_handed_over_by_the_wall_clock(zone: str, start: str, unit: str) -> None:
    layer = _layer(zone, start, 1, unit)
    for turn in range(4):
        clock = layer.handover(turn).astimezone(ZoneInfo(zone))
        assert (clock.hour, clock.minute) == (9, 0)
        at = layer.handover(turn)
        assert layer.turn(at) == turn
        assert layer.turn(at - timedelta(microseconds=1)) == turn - 1


def test_hours_pass_as_they_do() -> None:
    layer = _layer("Europe/Berlin", "2026-10-24T09:00", 24, "h")
    assert layer.handover(1) == moment("2026-10-25T08:00")
    days = _layer("Europe/Berlin", "2026-10-24T09:00", 1, "d")
    assert days.handover(1) == moment("2026-10-25T09:00")


def test_a_handover_that_the_clock_leaves_out_is_as_long_after_the_jump() -> None:
    layer = _layer("Europe/Berlin", "2026-03-28T02:30", 1, "d")
    assert layer.handover(1) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    # The clock shows 02:30 twice on that night: the first is meant.
    layer = _layer("Europe/Berlin", "2026-10-24T02:30", 1, "d")
    assert layer.handover(1) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


# --- who is there ---------------------------------------------------------------------------

NOON = moment("2026-11-03T12:00")


def test_the_first_layer_with_somebody_there_has_the_duty() -> None:
    assert rotation().on_duty(NOON, EVERYBODY) == A
    assert rotation().on_duty(NOON, Presence({B: None, C: None})) == C
    assert rotation().on_duty(NOON, Presence({B: None})) is None


def test_an_override_has_the_duty_whosever_turn_and_hour_it_is() -> None:
    begin, end = moment("2026-11-07T00:00"), moment("2026-11-08T00:00")
    found = rotation(WHOLE, Override(2, D, begin, end), Override(1, B, begin, end))
    at_work = Presence(ALL | {D: WEEK})
    assert found.on_duty(begin, at_work) == D
    assert found.on_duty(end, at_work) == A
    gone = {D: [away(D, "2026-11-07T00:00", "2026-11-08T00:00")]}
    assert found.on_duty(begin, Presence(ALL, gone)) == B
    assert found.on_duty(begin, Presence({A: None})) == A


def test_who_stands_in_takes_the_duty_and_has_a_stand_in_too() -> None:
    span = ("2026-11-03T00:00", "2026-11-04T00:00")
    one = {A: [away(A, *span, B)]}
    assert rotation().on_duty(NOON, Presence(ALL, one)) == B
    two = one | {B: [away(B, *span, D)]}
    assert rotation().on_duty(NOON, Presence(ALL, two)) == D
    circle = two | {D: [away(D, *span, A)]}
    assert rotation().on_duty(NOON, Presence(ALL, circle)) == C
    nobody = {A: [away(A, *span)]}
    assert rotation().on_duty(NOON, Presence(ALL, nobody)) == C
    # What was said last stands first.
    twice = {A: [away(A, *span, D), away(A, *span, B)]}
    assert rotation().on_duty(NOON, Presence(ALL, twice)) == D


def test_outside_somebody_s_hours_the_next_layer_has_the_duty() -> None:
    at_work = Presence(ALL | {A: WEEK})
    found = rotation()
    for clock, person in [
        ("2026-11-03T16:59", A),
        ("2026-11-03T17:00", C),
        ("2026-11-04T09:00", A),
        ("2026-11-07T12:00", C),
    ]:
        assert found.on_duty(moment(clock), at_work) == person, clock
    assert works(WEEK, moment("2026-11-03T09:00"))
    assert not works(WEEK, moment("2026-11-03T08:59"))


def test_holes_are_said_in_words_by_the_wall_clock_of_the_schedule() -> None:
    text = WHOLE.partition("  - people: [c@x.org]")[0]
    begin, end = moment("2026-11-26T12:00"), moment("2026-12-01T12:00")
    friday = Presence({A: WEEK, B: WEEK})
    spells = rotation(text).duties(begin, end, friday)
    assert holes_in_words(spells, BERLIN) == [
        "Nobody from Thu 26 Nov 17:00 to Fri 27 Nov 09:00",
        "Nobody from Fri 27 Nov 17:00 to Mon 30 Nov 09:00",
        "Nobody from Mon 30 Nov 17:00 to Tue 1 Dec 09:00",
    ]
    # What ends with the span may go on.
    spells = rotation(text).duties(begin, moment("2026-11-29T00:00"), friday)
    (_, last) = holes_in_words(spells, BERLIN)
    assert last == "Nobody from Fri 27 Nov 17:00 to Sun 29 Nov 00:00 at least"


# --- properties -----------------------------------------------------------------------------

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
# Both changes of summer time of all three zones lie in here.
BEGIN, DAYS = datetime(2026, 3, 1, tzinfo=UTC), 280
moments = st.integers(0, DAYS * 24 * 60).map(lambda minutes: BEGIN + timedelta(minutes=minutes))
people = st.sampled_from((A, B, C, D))


@st.composite
def spans(draw: st.DrawFn) -> tuple[datetime, datetime]:
    begin = draw(moments)
    return begin, begin + timedelta(minutes=draw(st.integers(1, 60 * 24 * 40)))


@st.composite
def rotations(draw: st.DrawFn) -> Rotation:
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    units = st.sampled_from([("h", 5), ("h", 12), ("d", 1), ("d", 3), ("w", 1), ("w", 2)])
    starts = st.integers(0, 90 * 24 * 60).map(
        lambda minutes: (BEGIN + timedelta(minutes=minutes)).replace(tzinfo=None)
    )
    found = []
    for _ in range(draw(st.integers(1, 3))):
        unit, count = draw(units)
        names = tuple(draw(st.lists(people, min_size=1, max_size=4)))
        found.append(Layer(names, draw(starts), zone, count, unit))
    overrides = tuple(
        Override(n, draw(people), *draw(spans())) for n in range(draw(st.integers(0, 2)))
    )
    return Rotation(zone, tuple(found), overrides)


@st.composite
def presences(draw: st.DrawFn) -> Presence:
    night = ((0, 6 * 60), (22 * 60, 24 * 60))
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    calendars = st.sampled_from([None, WEEK, WorkingCalendar(zone, (night,) * 7)])
    able = draw(st.dictionaries(people, calendars, max_size=4))
    absences: dict[str, list[Absence]] = {}
    for n in range(draw(st.integers(0, 4))):
        person, stand_in = draw(people), draw(st.none() | people)
        absences.setdefault(person, []).append(Absence(n, person, *draw(spans()), stand_in))
    return Presence(able, absences)


@given(rotations(), presences(), spans(), st.lists(st.integers(0, 10**6), max_size=20))
def test_duties_cover_a_span_and_say_the_same_as_who(
    found: Rotation, presence: Presence, span: tuple[datetime, datetime], parts: list[int]
) -> None:
    begin, end = span
    spells = found.duties(begin, end, presence)
    assert spells[0].begin == begin
    assert spells[-1].end == end
    for one, following in pairwise(spells):
        assert one.begin < one.end == following.begin
        assert one.person != following.person
    edges = [at for one in spells for at in (one.begin, one.end - timedelta(microseconds=1))]
    for at in [*edges, *(begin + (end - begin) * part / (10**6 + 1) for part in parts)]:
        (spell,) = [one for one in spells if one.begin <= at < one.end]
        assert found.on_duty(at, presence) == spell.person


@given(rotations(), moments)
def test_a_turn_lasts_from_its_handover_to_the_next(found: Rotation, at: datetime) -> None:
    for layer in found.layers:
        turn = layer.turn(at)
        assert layer.handover(turn) <= at < layer.handover(turn + 1)
        (spell,) = turns(layer, at, at + timedelta(microseconds=1))
        assert spell.person == layer.person(at)


@given(presences(), people, moments)
def test_who_answers_is_there(presence: Presence, person: str, at: datetime) -> None:
    found = presence.answering(person, at)
    if found is not None:
        calendar = presence.able[found]
        assert presence.absence(found, at) is None
        assert calendar is None or works(calendar, at)
