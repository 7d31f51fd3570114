"""Signing in while others try passwords."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from services.app.resources import Resources
from services.people.attempts import Attempt
from services.people.errors import SignInRefused
from tests import factories
from tests.factories import PASSWORD, people
from tests.factories.installation import cloned, open_resources, populate
from tests.factories.site import Site
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


def _try(client: TestClient, email: str, password: str) -> Response:
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


def test_one_network_takes_the_places_of_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait from there; those beyond a few are turned away, and others get in."""
    waiting = threading.Semaphore(0)
    opened = threading.Event()

    def slow(_: object, attempt: Attempt, __: str) -> Entered:
        waiting.release()
        if attempt.network == "203.0.113.7":
            opened.wait(60)
        raise SignInRefused("no")

    monkeypatch.setattr(PasswordSignIn, "_check", slow)
    monkeypatch.setattr(password, "_WAITING_OF_ONE_NETWORK", 1)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(_try, _browser(site, "203.0.113.7"), "a@example.org", "x")
        assert waiting.acquire(timeout=30)
        try:
            beyond = _try(_browser(site, "203.0.113.7"), "b@example.org", "x")
            elsewhere = _try(_browser(site, "198.51.100.1"), "c@example.org", "x")
        finally:
            opened.set()
        assert (beyond.status_code, elsewhere.status_code) == (429, 401)
        assert first.result().status_code == 401


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
