"""An incident on the pages, without a script: look, choose, look at what it does, confirm, undo."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx2
import pytest

from tests import factories
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of, post
from tests.waiting import until

_WHOLE = """SELECT coalesce(max(id), 0) FROM "case"
    WHERE subject_kind = 'incident' AND state = 'open'"""


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """The product without a browser."""
    with open_site(postgres_url) as opened, at_work(opened):
        yield opened


@pytest.fixture
def whole(site: Site) -> int:
    """An incident of ten disputes."""
    site.clear()
    for output_id in [site.output(confidence=0.95) for _ in range(10)]:
        site.say(output_id, kind="dispute")
    until(lambda: site.one(_WHOLE) > 0 and site.one(_LEFT, id=site.one(_WHOLE)) == 10)
    return int(site.one(_WHOLE))


_LEFT = "SELECT count(*) FROM \"case\" WHERE incident = :id AND state = 'merged'"


def choose(owner: httpx2.Client, whole: int, choice: str) -> httpx2.Response:
    """Press a verdict on all, as the form is."""
    return owner.get(f"/c/{whole}/parts/verdict", params={"choice": choice})


def confirm(owner: httpx2.Client, whole: int, preview: str, **more: str) -> httpx2.Response:
    """Press what the preview offers."""
    fields = dict(re.findall(r'name="(choice|cases)" value="([^"]+)"', preview))
    return post(owner, f"/c/{whole}/parts/verdict", **{**fields, **more})


def test_fifty_of_one_cause_take_three_steps(site: Site, whole: int) -> None:
    owner = client_of(site, factories.OWNER)
    queue = owner.get("/queue").text
    assert "Incident: 10 cases" in queue
    assert "AI said billing" in queue
    seen = choose(owner, whole, "is:tax").text
    assert "10 as tax" in seen
    done = confirm(owner, whole, seen)
    assert done.status_code == 303
    after = owner.get(done.headers["location"]).text
    assert "10 done" in after
    assert after.count('data-key="z"') == 1
    verdict = f'SELECT verdict, verdict_value FROM "case" WHERE incident = {whole}'
    assert {tuple(row) for row in site.rows(verdict)} == {("corrected", "tax")}
    # And one more takes all of it back.
    (at,) = set(re.findall(r'name="at" value="([^"]+)"', after))
    assert post(owner, f"/c/{whole}/parts/undo", at=at).status_code == 303
    assert site.one(_LEFT, id=whole) == 10


def test_what_people_say_otherwise_is_left_out(site: Site, whole: int) -> None:
    owner = client_of(site, factories.OWNER)
    first = site.rows(
        'SELECT o.output_id FROM "case" c JOIN case_output o ON o.case_id = c.id'
        " WHERE incident = :id ORDER BY c.id LIMIT 1",
        id=whole,
    )[0].output_id
    site.say(first, value="refund")
    seen = choose(owner, whole, "is:tax").text
    assert "9 as tax" in seen
    assert "1 differs, excluded" in seen
    assert "refund is right" in seen
    confirm(owner, whole, seen)
    assert site.one(_LEFT, id=whole) == 1
    # Where all have a part in what is left, the admin who decides it reads so beforehand.
    assert "You have a part" not in choose(owner, whole, "is:refund").text
    site.rows(_EVERYBODY_CORRECTED, output=first)
    alone = choose(client_of(site, factories.ADMIN), whole, "is:refund").text
    assert "1 as refund" in alone
    assert "You have a part in 1 of them" in alone


_EVERYBODY_CORRECTED = """
INSERT INTO own_correction (tool, correction_id, output_id, actor, heard_at)
SELECT tool, email, output_id, email, now() FROM case_output CROSS JOIN person
WHERE output_id = :output RETURNING 1
"""


def test_what_changed_since_is_said(site: Site, whole: int) -> None:
    owner, lead = client_of(site, factories.OWNER), client_of(site, factories.LEAD)
    seen = choose(owner, whole, "upheld").text
    part = site.one('SELECT min(id) FROM "case" WHERE incident = :id', id=whole)
    post(lead, f"/c/{part}/unmerge")
    done = confirm(owner, whole, seen)
    assert "9 done, 1 changed since" in owner.get(done.headers["location"]).text


def test_what_came_after_the_page_is_not_decided(site: Site, whole: int) -> None:
    owner = client_of(site, factories.OWNER)
    seen = choose(owner, whole, "upheld").text
    late = site.output(confidence=0.95)
    site.say(late, kind="dispute")
    until(lambda: site.one(_LEFT, id=whole) == 11)
    confirm(owner, whole, seen)
    assert site.one(_LEFT, id=whole) == 1


def test_who_may_not_or_comes_with_nonsense(site: Site, whole: int) -> None:
    now = datetime.now(UTC).isoformat()
    asked = {"choice": "upheld", "cases": "1"}
    for who, status in ((factories.OUTSIDER, 404), (factories.AUDITOR, 403)):
        client = client_of(site, who)
        page = client.get(f"/c/{whole}/parts/verdict", params=asked)
        assert page.status_code == status
        assert post(client, f"/c/{whole}/parts/verdict", **asked).status_code == status
    owner = client_of(site, factories.OWNER)
    for wrong in ({"choice": "perhaps"}, {"cases": "yesterday"}, {"cases": "1-999999999"}):
        said = post(owner, f"/c/{whole}/parts/verdict", **{**asked, **wrong})
        assert said.status_code in (400, 422)
    assert site.one(_LEFT, id=whole) == 10
    assert post(owner, f"/c/{whole}/parts/undo", at=now).status_code == 409


def test_an_incident_is_put_off_until_more_of_it_comes(site: Site, whole: int) -> None:
    owner = client_of(site, factories.OWNER)
    given = {"span": "4h", "note": "the provider knows", "token": ""}
    assert 'name="more"' in owner.get(f"/c/{whole}").text
    for wrong in ("0", "many"):
        assert post(owner, f"/c/{whole}/put-off", more=wrong, **given).status_code == 422
    assert post(owner, f"/c/{whole}/put-off", more="3", **given).status_code == 303
    query = 'SELECT state, wakes_after FROM "case" WHERE id = :id'
    assert tuple(site.rows(query, id=whole)[0]) == ("snoozed", 3)


def test_the_preview_tells_nothing_of_what_is_looked_at_blind(site: Site, whole: int) -> None:
    owner = client_of(site, factories.OWNER)
    part = site.rows(
        'SELECT c.id, o.output_id FROM "case" c JOIN case_output o ON o.case_id = c.id'
        " WHERE incident = :id ORDER BY c.id LIMIT 1",
        id=whole,
    )[0]
    site.say(part.output_id, value="refund")
    # Merged before such cases were kept out.
    site.rows('UPDATE "case" SET blind = true WHERE id = :id RETURNING id', id=part.id)
    seen = choose(owner, whole, "is:tax").text
    assert "refund is right" not in seen
    assert "It is shown blind" in seen
