"""What is pushed can be read by one browser alone, and is known to come from here."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotFound
from services.notifications import push
from services.notifications.channels import push as channel
from services.notifications.channels.message import Line, message_of
from services.notifications.channels.push import notice_of
from services.notifications.rules import browser_in_words
from services.people import access, push_devices
from services.people import service as people_service
from services.people.push_devices import Subscription
from tests.factories import LEAD, OWNER, TEAMMATE, actor_of, one, rows
from tests.factories.people import OPERATOR
from tests.notifications.browsers import FakeBrowser, claims_of, letters, plain, private_key_of

_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_SERVICE = "https://push.example.org/send/1"


def allow(database: Database, person: str, asked: Subscription, user_agent: str = "") -> None:
    """Let a person allow push in a browser."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        actor = actor_of(session, person)
        push.allow(session, asked, user_agent=user_agent, allowed=(), actor=actor, now=now)


def devices(database: Database) -> list[tuple[str, str]]:
    """Whose devices lead where."""
    found = rows(database, "SELECT person, endpoint FROM push_device ORDER BY id")
    return [tuple(row) for row in found]


def test_body_is_the_one_of_the_standards_example() -> None:
    """RFC 8291, section 5 and appendix A."""
    body = channel.encrypt(
        b"When I grow up, I want to be a watermelon",
        p256dh="BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNto"
        "IAiw4",
        auth="BTBZMqHH6r4Tts7J_aSIgg",
        ours=private_key_of("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
        salt=plain("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert letters(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmY"
        "WAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexS"
        "gSxsj_Qulcy4a-fN"
    )


@given(said=st.binary(max_size=500))
def test_what_is_encrypted_is_read_by_its_browser(said: bytes) -> None:
    browser = FakeBrowser(_SERVICE)
    keys = browser.subscription
    assert browser.read(channel.encrypt(said, p256dh=keys.p256dh, auth=keys.auth)) == said


def test_signature_names_the_push_service_and_whom_to_write_to() -> None:
    pair, at = channel.new_key_pair(), datetime(2026, 11, 29, tzinfo=UTC)
    url = "https://push.example.org:8443/send/1"
    header = channel.signature(pair.private, endpoint=url, contact="sl@example.org", at=at)
    assert claims_of(header, pair.public) == {
        "aud": "https://push.example.org:8443",
        "exp": int(at.timestamp()) + 12 * 3600,
        "sub": "mailto:sl@example.org",
    }


def test_one_thing_leads_to_its_page_and_several_to_the_inbox() -> None:
    first, second = Line(text="Case 7 waits.", path="/c/7"), Line(text="Case 8.", path="/c/8")
    alone = notice_of(message_of((first,)), urgent=True)
    assert (alone.text, alone.path, alone.urgent) == ("Case 7 waits.", "/c/7", True)
    both = notice_of(message_of((first, second)), urgent=False)
    assert (both.text, both.path) == ("2 things wait for you in Secondlook", "/inbox")
    assert len(alone.topic) <= 32
    assert alone.topic != both.topic


_KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "called"),
    [
        (_FIREFOX, "Firefox on Linux"),
        (f"(Windows NT 10.0) {_KHTML} Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        (f"(Linux; Android 16) {_KHTML} Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"(iPhone; CPU OS like Mac OS X) {_KHTML} Version/18.0 Safari/604.1", "Safari on iOS"),
        ("", "A browser"),
    ],
)
def test_browser_is_called_what_people_call_it(user_agent: str, called: str) -> None:
    assert browser_in_words(user_agent) == called


def test_key_pair_is_made_once(database: Database) -> None:
    def look(_: int) -> str:
        with database.transaction() as session:
            now = DatabaseClock().now(session)
            return push.devices_of(session, actor_of(session, OWNER), now=now).key

    with ThreadPoolExecutor(4) as pool:
        keys = set(pool.map(look, range(4)))
    assert keys == {one(database, "SELECT public FROM push_key")}


def test_allow_keeps_a_browser_once_with_what_it_is_called(database: Database) -> None:
    browser = FakeBrowser(_SERVICE)
    allow(database, OWNER, browser.subscription)
    allow(database, OWNER, browser.subscription, _FIREFOX)
    ((person, browser_called, error),) = rows(
        database, "SELECT person, browser, last_error FROM push_device"
    )
    assert (person, browser_called, error) == (OWNER, "Firefox on Linux", None)


def test_browser_that_another_person_allows_is_theirs_alone(database: Database) -> None:
    browser = FakeBrowser(_SERVICE)
    allow(database, OWNER, browser.subscription)
    allow(database, TEAMMATE, browser.subscription)
    assert devices(database) == [(TEAMMATE, _SERVICE)]


_GOOD = FakeBrowser(_SERVICE).subscription


@pytest.mark.parametrize(
    "asked",
    [
        _GOOD._replace(endpoint="http://push.example.org/1"),
        _GOOD._replace(endpoint="javascript:alert(1)"),
        _GOOD._replace(endpoint="https://user:secret@push.example.org/1"),
        _GOOD._replace(endpoint=""),
        _GOOD._replace(endpoint=f"https://push.example.org/{'x' * 2_000}"),
        _GOOD._replace(p256dh=letters(b"\x04" + b"\x01" * 64)),
        _GOOD._replace(p256dh=""),
        _GOOD._replace(p256dh="ä"),
        _GOOD._replace(auth=letters(b"short")),
        _GOOD._replace(auth="!!!"),
    ],
)
def test_allow_refuses_what_no_browser_answers(database: Database, asked: Subscription) -> None:
    with pytest.raises(InvalidInput, match=r"^push: "):
        allow(database, OWNER, asked)
    assert devices(database) == []


def test_nobody_has_more_than_ten_devices(database: Database) -> None:
    for n in range(9):
        allow(database, OWNER, FakeBrowser(f"{_SERVICE}{n}").subscription)

    def another(n: int) -> bool:
        try:
            allow(database, OWNER, FakeBrowser(f"https://other.example.org/{n}").subscription)
        except InvalidInput:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(another, range(4))) == [False, False, False, True]
    assert len(devices(database)) == 10
    with pytest.raises(InvalidInput, match="10 devices"):
        allow(database, OWNER, FakeBrowser("https://other.example.org/x").subscription)
    again = FakeBrowser(f"{_SERVICE}3").subscription
    allow(database, OWNER, again)
    assert len(devices(database)) == 10
    assert one(database, "SELECT count(*) FROM push_device WHERE auth = :a", a=again.auth) == 1


def test_remove_takes_ones_own_alone(database: Database) -> None:
    allow(database, OWNER, FakeBrowser(_SERVICE).subscription)
    number = one(database, "SELECT id FROM push_device")
    with database.transaction() as session:
        lead, owner = actor_of(session, LEAD), actor_of(session, OWNER)
        now = DatabaseClock().now(session)
        with pytest.raises(NotFound):
            push_devices.remove(session, number, actor=lead, now=now)
        push_devices.remove(session, number, actor=owner, now=now)
    assert devices(database) == []


def test_deactivating_somebody_ends_push_to_their_devices(database: Database) -> None:
    allow(database, OWNER, FakeBrowser(_SERVICE).subscription)
    allow(database, LEAD, FakeBrowser(f"{_SERVICE}2").subscription)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        people_service.change_person(
            session, OWNER, active=False, actor=OPERATOR, duties=(), now=now
        )
    assert devices(database) == [(LEAD, f"{_SERVICE}2")]


def test_new_password_ends_push_to_ones_devices(database: Database) -> None:
    allow(database, OWNER, FakeBrowser(_SERVICE).subscription)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        owner = actor_of(session, OWNER)
        access.set_password(session, OWNER, "a new long password", actor=owner, now=now)
    assert devices(database) == []


def test_private_key_is_in_no_audit_entry(database: Database) -> None:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        push.devices_of(session, actor_of(session, OWNER), now=now)
    allow(database, OWNER, FakeBrowser(_SERVICE).subscription)
    with database.transaction() as session:
        private = session.execute(text("SELECT private FROM push_key")).scalar_one()
        told = session.execute(text("SELECT audit::text FROM audit_entry audit")).scalars().all()
    assert told
    assert not any(private in entry or _SERVICE in entry for entry in told)
