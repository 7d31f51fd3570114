"""The pages of schedules, absences and calendar addresses, without a browser."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest

from services.people import schedule_queries
from tests.factories import (
    ADMIN,
    LEAD,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    REP,
    TEAM,
    TEAMMATE,
    actor_of,
    add_schedule,
)
from tests.factories.site import Site, open_site
from tests.ui.pages import client_of, post
from ui.schedules import feed

SCHEDULE = f"""timezone: Europe/Berlin
layers:
- people:
  - {OWNER}
  - {TEAMMATE}
  every: 1w
  start: 2026-01-05T09:00
"""
SEE_OTHER, MISSING, INVALID = 303, 404, 422


@pytest.fixture
def site(postgres_url: str) -> Iterator[Site]:
    """Two schedules, one of them another team's."""
    with open_site(postgres_url) as opened:
        with opened.database.transaction() as session:
            add_schedule(session, "first", OWNER, TEAMMATE)
            add_schedule(session, "theirs", OUTSIDER, team=OTHER_TEAM)
        yield opened


def today() -> str:
    """As it is where the schedules are."""
    return datetime.now(ZoneInfo("Europe/Berlin")).date().isoformat()


def who(site: Site, slug: str = "first") -> str | None:
    with site.database.transaction() as session:
        return schedule_queries.on_duty(session, [slug], datetime.now(UTC)).get(slug)


# --- the pages ------------------------------------------------------------------------------


def test_list_says_who_is_on_duty_and_shows_one_s_own_teams(site: Site) -> None:
    page = client_of(site, OWNER).get("/schedules").text
    assert "theirs" not in page
    name = {OWNER: "Olga", TEAMMATE: "Tim"}[who(site) or ""]
    assert re.search(rf'data-label="On duty">{name} <span class="muted small">until Mon ', page)
    assert "Put it into force" not in page
    assert "Put it into force" in client_of(site, LEAD).get("/schedules").text
    assert client_of(site, OWNER).get("/schedules/theirs").status_code == MISSING


def test_schedule_draws_four_weeks_and_says_the_same_in_a_table(site: Site) -> None:
    page = client_of(site, OWNER).get("/schedules/first").text
    for size in ("wide", "narrow"):
        drawn = page.partition(f'<svg class="{size}"')[2].partition("</svg>")[0]
        assert re.findall(r'class="strong"[^>]*>([^<]+)<', drawn) == ["Layer 1", "On duty"]
        titles = re.findall(r"<title>([^<]+)</title>", drawn)
        # A handover a week, so that five spells or four touch the four weeks, in both rows.
        assert len(titles) in (8, 10)
        assert titles[: len(titles) // 2] == titles[len(titles) // 2 :]
        rows = re.findall(
            r'<th scope="row">On duty</th>\s*<td data-label="From">([^<]+)</td>\s*'
            r'<td data-label="To">([^<]+)</td>\s*<td data-label="Who">([^<]+)</td>',
            page,
        )
        assert [f"{name}, {begin} to {end}" for begin, end, name in rows] == titles[-len(rows) :]
    assert "Somebody is on duty all the time" in page


def test_holes_are_said_in_words(site: Site) -> None:
    from_, until = f"{today()}T00:00", "2099-01-01T00:00"
    for email in (OWNER, TEAMMATE):
        client = client_of(site, email)
        fields = {"from": from_, "until": until, "stand_in": ""}
        assert post(client, "/account/away", **fields).status_code == SEE_OTHER
    page = client_of(site, OWNER).get("/schedules/first").text
    assert "Nobody is on duty." in page
    assert re.search(
        r"<li>Nobody from \w{3} \d+ \w{3} \d\d:\d\d to \w{3} \d+ \w{3} 00:00 at least</li>", page
    )
    assert "Nobody</span>" in client_of(site, OWNER).get("/schedules").text


def test_lead_gives_the_duty_for_a_day_and_ends_that(site: Site) -> None:
    lead, turn = client_of(site, LEAD), who(site)
    made = post(lead, "/schedules/first/override", person=LEAD, day=today(), until="")
    assert made.status_code == SEE_OTHER
    assert who(site) == LEAD
    number = site.one("SELECT id FROM schedule_override")
    page = lead.get("/schedules/first").text
    assert "On duty: Lea until" in page
    assert f'name="number" value="{number}"' in page
    ended = post(lead, "/schedules/first/override/end", number=str(number))
    assert ended.status_code == SEE_OTHER
    assert who(site) == turn
    again = post(lead, "/schedules/first/override/end", number=str(number))
    assert again.status_code == MISSING


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"day": "soon"}, "it is no date"),
        ({"day": "9999-12-31"}, "the year 9999 is out of reach"),
        ({"day": "2020-01-01"}, "it is over already"),
        ({"until": "2020-01-01"}, "it is not after the beginning"),
        ({"person": REP}, f"{REP} may not review"),
        ({"person": OUTSIDER}, f"{OUTSIDER} is not of team"),
        ({"person": ""}, "nobody active has the address"),
    ],
)
def test_override_that_cannot_be_is_answered_on_the_page(
    site: Site, changed: dict[str, str], says: str
) -> None:
    fields: Any = {"person": TEAMMATE, "day": today(), "until": ""} | changed
    answer = post(client_of(site, LEAD), "/schedules/first/override", **fields)
    assert answer.status_code == INVALID
    assert says in answer.text
    assert f'value="{fields["day"]}"' in answer.text


def test_lead_changes_a_schedule_as_it_is_written(site: Site) -> None:
    lead = client_of(site, LEAD)
    page = lead.get("/schedules/first").text
    assert f">\n{SCHEDULE}</textarea>" in page.replace("&#39;", "").replace("'", "")
    text = SCHEDULE.replace(f"  - {OWNER}\n", "")
    fields = {"slug": "first", "team": TEAM, "document": text}
    assert post(lead, "/schedules", **fields).headers["location"] == "/schedules/first"
    assert who(site) == TEAMMATE
    wrong = fields | {"document": text.replace("1w", "1y")}
    answer = post(lead, "/schedules", **wrong)
    assert answer.status_code == INVALID
    assert "line 5: &#39;1y&#39; is no length of a turn" in answer.text
    assert "every: 1y" in answer.text
    assert who(site) == TEAMMATE
    assert post(lead, "/schedules", **fields | {"team": OTHER_TEAM}).status_code == MISSING


# --- one's own absences ---------------------------------------------------------------------


def test_everybody_says_when_they_are_away_and_back(site: Site) -> None:
    owner = client_of(site, who(site))
    fields = {"from": f"{today()}T00:00", "until": "2099-01-01T00:00", "stand_in": LEAD}
    assert post(owner, "/account/away", **fields).headers["location"] == "/account#away"
    assert who(site) == LEAD
    page = owner.get("/account").text
    assert "I am back" in page
    number = str(site.one("SELECT id FROM absence"))
    # Nobody else brings them back.
    assert post(client_of(site, LEAD), "/account/back", number=number).status_code == 409
    assert post(owner, "/account/back", number=number).status_code == SEE_OTHER
    assert who(site) in (OWNER, TEAMMATE)


def test_absence_that_cannot_be_is_answered_with_what_was_typed(site: Site) -> None:
    fields = {"from": "soon", "until": "2099-01-01T00:00", "stand_in": LEAD}
    answer = post(client_of(site, REP), "/account/away", **fields)
    assert answer.status_code == INVALID
    assert "is no date with a time" in answer.text
    assert 'value="2099-01-01T00:00"' in answer.text
    assert f'value="{LEAD}" selected' in answer.text


# --- calendar addresses ---------------------------------------------------------------------


def address_of(site: Site, email: str = OWNER) -> str:
    """The path of the feed of `first`, made anew."""
    page = post(client_of(site, email), "/account/feed")
    found = re.search(r"/schedules/first\.ics\?key=[\w-]+", page.text)
    assert found is not None, page.text
    return found[0]


def test_calendar_reads_the_schedule_by_its_address(site: Site) -> None:
    answer = client_of(site, None).get(address_of(site))
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    calendar = icalendar.Calendar.from_ical(answer.text)
    events = calendar.walk("VEVENT")
    now = datetime.now(UTC)
    (present,) = [one for one in events if one.start <= now < one.end]
    name = {OWNER: "Olga", TEAMMATE: "Tim"}[who(site) or ""]
    assert str(present["SUMMARY"]) == f"first: {name}"
    assert len({str(one["UID"]) for one in events}) == len(events) > 10
    for one, following in pairwise(events):
        assert one.end == following.start
        assert following.end - following.start <= timedelta(days=8)


NOON = datetime(2026, 11, 30, 12, 0, 0, 123, tzinfo=UTC)


def read_feed(site: Site, at: datetime, slug: str = "first") -> icalendar.Calendar:
    """The feed as it is read at a moment."""
    with site.database.transaction() as session:
        actor = actor_of(session, ADMIN)
        content = feed.read(session, actor, slug, now=at)
    calendar = icalendar.Calendar.from_ical(content.decode())
    assert isinstance(calendar, icalendar.Calendar)
    return calendar


def told(calendar: icalendar.Calendar) -> dict[str, tuple[datetime, datetime, str]]:
    return {
        str(one["UID"]): (one.start, one.end, str(one["SUMMARY"]))
        for one in calendar.walk("VEVENT")
    }


def test_calendar_has_the_same_events_whenever_it_is_read(site: Site) -> None:
    first, later = (read_feed(site, NOON + timedelta(minutes=n)) for n in (0, 7))
    assert first["UID"] == later["UID"] == "first@secondlook"
    assert told(first) == told(later)
    next_day = told(read_feed(site, NOON + timedelta(days=5)))
    shared = told(first).keys() & next_day.keys()
    assert len(shared) >= len(next_day) - 1
    assert all(told(first)[uid] == next_day[uid] for uid in shared)
    for begin, end, _ in told(first).values():
        local = begin.astimezone(ZoneInfo("Europe/Berlin"))
        assert (local.weekday(), local.hour, local.minute, local.second) == (0, 9, 0, 0)
        assert timedelta(days=6) < end - begin < timedelta(days=8)


def test_duty_that_is_never_handed_over_is_one_event_all_year(site: Site) -> None:
    before = NOON - timedelta(days=99)
    found = told(read_feed(site, NOON, "theirs"))
    assert [end - begin > timedelta(days=700) for begin, end, _ in found.values()] == [True]
    assert found == told(read_feed(site, before, "theirs"))


def test_address_opens_what_its_person_may_read_until_it_is_revoked(site: Site) -> None:
    anybody, address = client_of(site, None), address_of(site)
    assert anybody.get(address).status_code == 200
    assert anybody.get(address.replace("first", "theirs")).status_code == MISSING
    assert anybody.get(address[:-1]).status_code == MISSING
    assert site.one("SELECT count(*) FROM feed_token WHERE revoked_at IS NULL") == 1
    newer = address_of(site)
    assert anybody.get(address).status_code == MISSING
    assert anybody.get(newer).status_code == 200
    assert post(client_of(site, OWNER), "/account/feed/revoke").status_code == SEE_OTHER
    assert anybody.get(newer).status_code == MISSING


def test_address_ends_with_its_person(site: Site) -> None:
    anybody, address = client_of(site, None), address_of(site, TEAMMATE)
    fields = {"email": TEAMMATE, "active": "no"}
    admin = client_of(site, "ada@example.org")
    assert post(admin, "/people/active", **fields).status_code == SEE_OTHER
    assert anybody.get(address).status_code == MISSING
    assert site.one("SELECT count(*) FROM feed_token WHERE revoked_at IS NULL") == 0


def test_rep_has_no_schedules_to_read(site: Site) -> None:
    rep = client_of(site, REP)
    assert rep.get("/schedules").status_code == 403
    assert "Schedules in your calendar" not in rep.get("/account").text
    assert post(rep, "/account/feed").status_code == 403
