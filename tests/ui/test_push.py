"""Allowing push on a device, without a browser and without JavaScript."""

from collections.abc import Iterator

import pytest

from tests import factories
from tests.factories.site import Site, open_site
from tests.notifications.browsers import FakeBrowser
from tests.ui.pages import client_of, post

_ENDPOINT = "https://push.example.org/send/1"
_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def site(postgres_url: str) -> Iterator[Site]:
    """A site."""
    with open_site(postgres_url) as opened:
        yield opened


def fields(endpoint: str = _ENDPOINT) -> dict[str, str]:
    """What a browser answers, as the form sends it."""
    return FakeBrowser(endpoint).subscription._asdict()


def test_page_says_that_scripts_are_needed_and_hides_the_button(site: Site) -> None:
    page = client_of(site, factories.REP).get("/account").text
    assert "Allowing this device takes a browser that runs scripts." in page
    key = site.one("SELECT public FROM push_key")
    assert f'action="/account/push" hidden data-push-key="{key}"' in page
    assert site.one("SELECT private FROM push_key") not in page


def test_allowed_device_is_listed_until_it_is_removed(site: Site) -> None:
    client = client_of(site, factories.REP)
    client.headers["user-agent"] = _FIREFOX
    assert post(client, "/account/push", **fields()).status_code == 303
    page = client.get("/account").text
    assert "Firefox on Linux" in page
    assert _ENDPOINT not in page
    assert "Firefox on Linux" not in client_of(site, factories.OWNER).get("/account").text
    number = str(site.one("SELECT id FROM push_device"))
    others = client_of(site, factories.OWNER)
    assert post(others, "/account/push/remove", number=number).status_code == 404
    assert post(client, "/account/push/remove", number=number).status_code == 303
    assert site.one("SELECT count(*) FROM push_device") == 0
    assert post(client, "/account/push/remove", number=number).status_code == 404


def test_why_a_device_was_not_reached_is_shown(site: Site) -> None:
    client = client_of(site, factories.REP)
    post(client, "/account/push", **fields())
    site.one("UPDATE push_device SET last_error = '500 <not now>' RETURNING id")
    assert "500 &lt;not now&gt;" in client.get("/account").text


@pytest.mark.parametrize("endpoint", ["http://push.example.org/1", "", "https://10.0.0.1:x/"])
def test_what_no_browser_answers_is_refused_in_its_place(site: Site, endpoint: str) -> None:
    done = post(client_of(site, factories.REP), "/account/push", **fields(endpoint))
    assert done.status_code == 422
    assert 'id="f-push-error"' in done.text
    assert site.one("SELECT count(*) FROM push_device") == 0


def test_switch_beside_mail_is_kept(site: Site) -> None:
    client = client_of(site, factories.REP)
    assert 'name="pushed" value="on" checked' in client.get("/account").text
    post(client, "/account/notifications", digest_minutes="0", timezone="UTC")
    assert 'name="pushed" value="on">' in client.get("/account").text
    assert site.one("SELECT pushed FROM notification_choice") is False


def test_worker_is_at_the_root_and_is_asked_for_anew(site: Site) -> None:
    answer = client_of(site, None).get("/push.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-cache"
    assert "worker-src 'self'" in answer.headers["content-security-policy"]
    assert "notificationclick" in answer.text
