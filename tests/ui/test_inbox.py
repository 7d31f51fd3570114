"""The inbox and the choices of how one is told, without a browser and without JavaScript."""

from collections.abc import Iterator

import pytest

from tests import factories
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of, post
from tests.waiting import until


@pytest.fixture
def site(postgres_url: str) -> Iterator[Site]:
    """A site with a case that our reviewers were told of."""
    with open_site(postgres_url) as opened:
        with at_work(opened):
            opened.case()
            until(lambda: told(opened) == 3)
        yield opened


def told(site: Site) -> int:
    """How many notifications nobody has read."""
    return int(site.one("SELECT count(*) FROM notification WHERE read_at IS NULL"))


def test_inbox_counts_and_shows_what_was_told_until_it_is_read(site: Site) -> None:
    client = client_of(site, factories.OWNER)
    page = client.get("/inbox")
    assert "needs a verdict" in page.text
    assert '<span class="count">1</span>' in page.text
    before = told(site)
    number = str(
        site.rows("SELECT id FROM notification WHERE person = :p", p=factories.OWNER)[0].id
    )
    others = client_of(site, factories.LEAD)
    assert post(others, "/inbox/read", id=number).status_code == 303
    assert told(site) == before
    assert post(client, "/inbox/read", id=number).status_code == 303
    assert told(site) == before - 1
    assert 'class="count"' not in client.get("/inbox").text
    assert post(others, "/inbox/read").status_code == 303
    assert told(site) == before - 2


def test_choices_are_kept_and_shown_again(site: Site) -> None:
    client = client_of(site, factories.OWNER)
    assert "A case is escalated to me" in client.get("/account").text
    fields = {"mail.escalated": "on", "digest_minutes": "60", "timezone": "Europe/Berlin"}
    quiet = {"quiet_from": "22:00", "quiet_until": "07:00"}
    done = post(client, "/account/notifications", **fields, **quiet)
    assert done.status_code == 303
    page = client.get("/account").text
    assert 'value="Europe/Berlin"' in page
    assert 'name="mail.escalated" value="on" checked' in page
    assert 'name="mail.opened" value="on">' in page
    assert '<option value="60" selected>' in page


@pytest.mark.parametrize(
    ("field", "value"),
    [("timezone", "Mars/X"), ("quiet_from", "25:00"), ("quiet_from", ""), ("digest_minutes", "7")],
)
def test_choice_that_cannot_be_is_named_and_stays_typed(site: Site, field: str, value: str) -> None:
    client = client_of(site, factories.OWNER)
    good = {"digest_minutes": "0", "timezone": "UTC", "quiet_from": "22:00", "quiet_until": "7:00"}
    good["quiet_until"] = "07:00"
    done = post(client, "/account/notifications", **(good | {field: value}))
    assert done.status_code == 422
    assert f'id="f-{field}-error"' in done.text
    assert site.one("SELECT count(*) FROM notification_choice") == 0


def test_test_button_tells_oneself(site: Site) -> None:
    client = client_of(site, factories.REP)
    assert post(client, "/account/notifications/test").status_code == 303
    assert "This is a test" in client.get("/inbox").text
    assert site.one("SELECT count(*) FROM delivery WHERE destination = :p", p=factories.REP) == 1
