"""Signing in while others try passwords."""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from httpx2 import Client, Response

from services.app.resources import Resources
from services.people import attempts
from services.people.attempts import Attempt
from services.people.errors import SignInRefused
from tests import factories
from tests.browser.harness import serve_app
from tests.factories import PASSWORD, people
from tests.factories.installation import cloned, open_resources, populate
from tests.factories.site import Site
from tests.waiting import until
from ui.sign_in import password
from ui.sign_in.password import Entered, PasswordSignIn

_SIGN_INS = "SELECT count(*) FROM sign_in WHERE person = :email"
_PROXY = "testclient"


@pytest.fixture
def site(postgres_url: str) -> Iterator[Site]:
    """Pages behind a proxy that is trusted."""
    with cloned(postgres_url) as url:
        resources: Resources = open_resources(url, trusted_proxies="127.0.0.1, 10.0.0.0/8")
        populate(resources.database)
        with resources.database.transaction() as session:
            people.set_password(session, factories.OWNER)
        yield Site(resources)
        resources.close()


def _browser(site: Site, came_from: str) -> TestClient:
    return TestClient(
        site.app,
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50000),
        headers={"sec-fetch-site": "same-origin", "x-forwarded-for": came_from},
        follow_redirects=False,
    )


def _try_at(
    origin: str,
    came_from: str,
    email: str,
    password: str,
    *,
    device: str = "",
    seconds: float = 60,
) -> Response:
    """Try to sign in at pages that are served, each time on a connection of its own."""
    headers = {"sec-fetch-site": "same-origin", "x-forwarded-for": came_from}
    cookies = {"secondlook-device": device} if device else {}
    with Client(base_url=origin, headers=headers, cookies=cookies, timeout=seconds) as client:
        return _try(client, email, password)


def _try(client: Client, email: str, password: str) -> Response:
    page = client.get("/sign-in")
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found is not None
    form = {"csrf_token": found[1], "email": email, "password": password}
    return client.post("/sign-in", data=form)


def test_ten_wrong_passwords_lock_nobody_out(site: Site) -> None:
    attacker = _browser(site, "203.0.113.7")
    for _ in range(7):
        assert _try(attacker, factories.OWNER, "not the password").status_code == 401
    begun = time.monotonic()
    assert _try(_browser(site, "198.51.100.1"), factories.OWNER, PASSWORD).status_code == 303
    assert time.monotonic() - begun < 2
    # Even where the attack comes from, the right password gets in, if some seconds late.
    assert _try(_browser(site, "203.0.113.7"), factories.OWNER, PASSWORD).status_code == 303
    assert site.one(_SIGN_INS, email=factories.OWNER) == 2


@pytest.mark.parametrize(
    ("limit", "beyond_it", "within_it"),
    [
        ("NETWORK", "b@example.org", ("198.51.100.1", "c@example.org")),
        ("ACCOUNT", "a@example.org", ("203.0.113.7", "c@example.org")),
    ],
)
def test_one_network_or_account_takes_the_places_of_no_other(
    site: Site,
    limit: str,
    beyond_it: str,
    within_it: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many wait there; those beyond a few are turned away, and others get in."""
    waiting = threading.Semaphore(0)
    opened = threading.Event()

    def slow(_: object, attempt: Attempt, __: str) -> Entered:
        waiting.release()
        if attempt.email == "a@example.org":
            opened.wait(60)
        raise SignInRefused("no")

    monkeypatch.setattr(PasswordSignIn, "_check", slow)
    monkeypatch.setattr(password, f"_WAITING_OF_ONE_{limit}", 1)
    with serve_app(site.app) as origin, ThreadPoolExecutor(2) as threads:
        first = threads.submit(_try_at, origin, "203.0.113.7", "a@example.org", "x")
        assert waiting.acquire(timeout=30)
        try:
            beyond = _try_at(origin, "203.0.113.7", beyond_it, "x")
            elsewhere = _try_at(origin, within_it[0], within_it[1], "x", seconds=30)
        finally:
            opened.set()
        assert (beyond.status_code, elsewhere.status_code) == (429, 401)
        assert first.result().status_code == 401


@contextmanager
def _attacked(networks: Sequence[str], origin: str, email: str) -> Iterator[None]:
    """Somebody at each of these places tries wrong passwords, one after another, until the end."""
    ended = threading.Event()

    def attack(network: str) -> None:
        while not ended.is_set():
            _try_at(origin, network, email, "not the password")

    with ThreadPoolExecutor(len(networks)) as threads:
        attacks = [threads.submit(attack, network) for network in networks]
        try:
            yield
        finally:
            ended.set()
        for one in attacks:
            one.result()


@pytest.mark.slow
def test_right_password_gets_in_from_a_network_where_six_try_wrong_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in earnest, five times as fast.
    real = attempts._ACCOUNT_FROM_ONE_PLACE
    assert real.patience is not None
    faster = real._replace(
        first=real.first / 5, longest=real.longest / 5, patience=real.patience / 5
    )
    monkeypatch.setattr(attempts, "_ACCOUNT_FROM_ONE_PLACE", faster)
    office = "203.0.113.7"
    delayed = "SELECT coalesce(min(tokens), 0) <= -6 FROM rate_bucket WHERE name = :name"
    name = f"sign-in {factories.OWNER} from {office}"
    with serve_app(site.app) as origin, _attacked([office] * 6, origin, factories.OWNER):
        until(lambda: site.one(delayed, name=name))
        begun = time.monotonic()
        answer = _try_at(origin, office, factories.OWNER, PASSWORD)
        assert answer.status_code == 303
        assert time.monotonic() - begun < 40
    assert site.one(_SIGN_INS, email=factories.OWNER) == 1


@pytest.mark.slow
def test_known_browser_gets_in_while_others_take_all_places(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password, "_WAITING", 6)
    with serve_app(site.app) as origin:
        first = _try_at(origin, "198.51.100.1", factories.OWNER, PASSWORD)
        device = first.cookies["secondlook-device"]
        networks = [f"192.0.2.{number}" for number in range(24)]
        with _attacked(networks, origin, factories.OWNER):
            elsewhere = "198.51.100.2"
            until(
                lambda: _try_at(origin, elsewhere, factories.OWNER, "x").status_code == 429,
                seconds=30,
            )
            for _ in range(3):
                begun = time.monotonic()
                answer = _try_at(origin, elsewhere, factories.OWNER, PASSWORD, device=device)
                assert answer.status_code == 303
                assert time.monotonic() - begun < 10
    assert site.one(_SIGN_INS, email=factories.OWNER) == 4


def test_only_what_the_trusted_proxy_wrote_counts(site: Site) -> None:
    for number in range(6):
        written = f"192.0.2.{number}, 203.0.113.7, 10.1.1.1"
        _try(_browser(site, written), factories.OWNER, "not the password")
    names = [row.name for row in site.rows("SELECT name FROM rate_bucket ORDER BY 1")]
    assert [name for name in names if "192.0.2" in name or "10.1" in name] == []
    assert "sign-in from 203.0.113.7" in names


def test_ipv6_counts_by_its_network(site: Site) -> None:
    for host in ("2001:db8:0:1::1", "[2001:db8:0:1:ffff::2]:4711"):
        _try(_browser(site, host), factories.OWNER, "not the password")
    query = "SELECT name FROM rate_bucket WHERE name LIKE 'sign-in from%'"
    assert [row.name for row in site.rows(query)] == ["sign-in from 2001:db8:0:1::/64"]


def test_browser_is_known_after_its_first_sign_in(site: Site) -> None:
    client = _browser(site, "198.51.100.1")
    assert _try(client, factories.OWNER, PASSWORD).status_code == 303
    assert client.cookies["secondlook-device"]
    client.cookies.delete("secondlook")
    assert "secondlook-device" not in _try(client, factories.OWNER, PASSWORD).headers["set-cookie"]
    assert site.one("SELECT count(*) FROM known_device") == 1
    with site.database.transaction() as session:
        people.set_password(session, factories.OWNER)
    assert site.one("SELECT count(*) FROM known_device") == 0
