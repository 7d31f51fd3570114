"""Dead letters are looked at, sent again and discarded by admins and ops, and by nobody else."""

from collections.abc import Iterator
from html import unescape

import pytest
from secondlook import events

from tests import factories
from tests.factories import AUDITOR, FOREIGN, OPS
from tests.factories.delivery import Delivery
from tests.factories.site import Site, open_site
from tests.ui.pages import client_of, post

_JUNK = b'{"broken <b>": "\xff\x00'
_RETRIED = "SELECT retried_at IS NOT NULL FROM dead_letter WHERE id = :id"
_SENT = "SELECT count(*) FROM outbox WHERE topic = 'secondlook.outputs' AND value = :value"
_AUDIT = """SELECT actor FROM audit_entry
    WHERE verb = :verb AND object_kind = 'dead letter' AND object_id = :id"""


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """The pages over a database with dead letters of our tool, of another team's and of none."""
    with open_site(postgres_url) as opened:
        yield opened


def _dead_letter(site: Site, *, tool: str | None = factories.TOOL) -> int:
    """A dead letter, of a tool or of none that is known."""
    newest = "SELECT coalesce(max(id), 0) FROM dead_letter"
    log = Delivery(site.database)
    # What another test sent again would come in between.
    log.relay()
    before = site.one(newest)
    # Offsets go on from one to the next, as they would on the log.
    log._next[events.OUTPUTS] = 1000 + before
    if tool is None:
        log.take(_JUNK, topic=events.OUTPUTS)
    else:
        event = factories.output(f"o-{before}", kind="text", value="A draft.")
        log.take(event.model_copy(update={"source": f"/tools/{tool}"}))
    after = int(site.one(newest))
    assert after > before
    return after


@pytest.mark.parametrize("email", [factories.REP, factories.OWNER, factories.LEAD, AUDITOR])
def test_others_have_no_business_here(site: Site, email: str) -> None:
    number, client = _dead_letter(site), client_of(site, email)
    assert "/dead-letters" not in client.get("/account").text
    for path in ("/dead-letters", f"/dead-letters/{number}"):
        assert client.get(path).status_code == 403
    for act in ("retry", "discard"):
        assert post(client, f"/dead-letters/{number}/{act}", reason="x").status_code == 403
    assert site.one(_RETRIED, id=number) is False


def test_admin_sees_all_and_ops_those_of_their_tools(site: Site) -> None:
    ours, theirs, nobodys = (
        _dead_letter(site, tool=tool) for tool in (factories.TOOL, FOREIGN, None)
    )
    for email, seen in ((factories.ADMIN, {ours, theirs, nobodys}), (OPS, {ours})):
        client = client_of(site, email)
        assert 'href="/dead-letters"' in client.get("/account").text
        page = client.get(f"/dead-letters?after={ours - 1}").text
        for number in (ours, theirs, nobodys):
            assert (f'href="/dead-letters/{number}"' in page) == (number in seen)
            status = client.get(f"/dead-letters/{number}").status_code
            assert status == (200 if number in seen else 404)
            if number not in seen:
                assert post(client, f"/dead-letters/{number}/retry").status_code == 404
                assert site.one(_RETRIED, id=number) is False


def test_page_shows_the_bytes_and_what_is_wrong(site: Site) -> None:
    client = client_of(site, factories.ADMIN)
    junk = client.get(f"/dead-letters/{_dead_letter(site, tool=None)}").text
    assert r'{"broken <b>": "\xff\x00' in unescape(junk)
    assert "broken &lt;b&gt;" in junk
    assert "\x00" not in junk
    ours = unescape(client.get(f"/dead-letters/{_dead_letter(site)}").text)
    assert '"value": "A draft."' in ours
    assert "What is wrong with it" in ours


def test_dead_letter_is_sent_again_once(site: Site) -> None:
    number, client = _dead_letter(site, tool=None), client_of(site, factories.ADMIN)
    before = site.one(_SENT, value=_JUNK)
    assert post(client, f"/dead-letters/{number}/retry").status_code == 303
    assert site.one(_RETRIED, id=number) is True
    assert site.one(_SENT, value=_JUNK) == before + 1
    assert site.one(_AUDIT, verb="retry", id=str(number)) == factories.ADMIN
    assert "Sent again" in client.get(f"/dead-letters/{number}").text
    assert f'"/dead-letters/{number}"' not in client.get("/dead-letters").text
    assert (
        f'"/dead-letters/{number}"'
        in client.get(f"/dead-letters?everything=1&after={number - 1}").text
    )
    assert post(client, f"/dead-letters/{number}/retry").status_code == 404
    assert site.one(_SENT, value=_JUNK) == before + 1


def test_all_of_one_tool_and_reason_are_discarded_by_one_press(site: Site) -> None:
    ours = [_dead_letter(site) for _ in range(3)]
    others = [_dead_letter(site, tool=FOREIGN), _dead_letter(site, tool=None)]
    client, path = client_of(site, OPS), f"/dead-letters/{ours[1]}"
    assert f"ones of {factories.TOOL}" in client.get(path).text
    assert post(client, f"{path}/discard", alike="1", reason="").status_code == 422
    ended = """SELECT count(*) FROM dead_letter
        WHERE id = ANY(:ids) AND discarded_by = :who AND discard_reason = 'noise'"""
    assert site.one(ended, ids=ours, who=OPS) == 0
    assert post(client, f"{path}/discard", alike="1", reason="noise").status_code == 303
    assert site.one(ended, ids=ours, who=OPS) == 3
    assert site.one(ended, ids=others, who=OPS) == 0
    noted = """SELECT detail ->> 'why' FROM audit_entry
        WHERE object_kind = 'dead letters' AND actor = :who"""
    assert site.one(noted, who=OPS) == "noise"
    admin, nobodys = client_of(site, factories.ADMIN), f"/dead-letters/{others[1]}"
    assert 'name="alike"' not in admin.get(nobodys).text
    assert post(admin, f"{nobodys}/discard", alike="1", reason="noise").status_code == 422


@pytest.mark.parametrize("number", ["0", "-1", str(2**63), "999999"])
def test_dead_letter_that_is_not_there(site: Site, number: str) -> None:
    client = client_of(site, factories.ADMIN)
    assert client.get(f"/dead-letters/{number}").status_code == 404
    assert post(client, f"/dead-letters/{number}/retry").status_code == 404


def test_list_goes_on_page_by_page(site: Site) -> None:
    numbers = [_dead_letter(site, tool=None) for _ in range(60)]
    client, path, seen = client_of(site, factories.ADMIN), "/dead-letters", list[str]()
    while path:
        page = client.get(path).text
        seen += [str(n) for n in numbers if f'href="/dead-letters/{n}"' in page]
        path = unescape(page.partition('class="more"><a class="button button-small" href="')[2])
        path = path.partition('"')[0]
    assert seen == [str(n) for n in numbers]
