"""Cases that are put off, wake, and are merged, on the pages and without a script."""

from collections.abc import Iterator

import pytest

from tests import factories
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of, post

_STATE = 'SELECT state, pause_reason FROM "case" WHERE id = :id'
_INCIDENT = 'SELECT state, incident FROM "case" WHERE id = :id'


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """The product without a browser."""
    with open_site(postgres_url) as opened, at_work(opened):
        yield opened


def state(site: Site, case: int) -> tuple[str, str | None]:
    return tuple(site.rows(_STATE, id=case)[0])  # type: ignore[return-value]


def test_a_case_is_put_off_and_wakes(site: Site) -> None:
    case, owner = site.case(), client_of(site, factories.OWNER)
    answer = post(owner, f"/c/{case}/put-off", span="4h", note="the bank is asked", token="")
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue")
    assert state(site, case) == ("snoozed", "the bank is asked")
    page = owner.get(f"/c/{case}").text
    assert "the bank is asked" in page
    assert f"/c/{case}/wake" in page
    assert post(owner, f"/c/{case}/wake").headers["location"] == f"/c/{case}"
    assert state(site, case) == ("open", None)


def test_who_holds_a_case_lets_it_wait(site: Site) -> None:
    case, owner = site.case(), client_of(site, factories.OWNER)
    post(owner, f"/c/{case}/claim")
    token = str(site.one('SELECT claim_seq FROM "case" WHERE id = :id', id=case))
    assert f'name="token" value="{token}"' in owner.get(f"/c/{case}").text
    post(owner, f"/c/{case}/put-off", span="1d", note="asked", token=token)
    assert state(site, case)[0] == "waiting"


@pytest.mark.parametrize(
    ("span", "note", "said"),
    [("4h", "", "reason: it is empty"), ("90d", "why", "span: it is none of those listed")],
)
def test_what_was_typed_stays_where_it_was_not_taken(
    site: Site, span: str, note: str, said: str
) -> None:
    case, owner = site.case(), client_of(site, factories.OWNER)
    answer = post(owner, f"/c/{case}/put-off", span=span, note=note, token="")
    assert answer.status_code == 422
    assert said in answer.text
    assert state(site, case)[0] == "open"


def test_only_what_can_be_put_off_offers_it(site: Site) -> None:
    case = site.case()
    for who, offered in ((factories.OWNER, True), (factories.AUDITOR, False)):
        assert (f"/c/{case}/put-off" in client_of(site, who).get(f"/c/{case}").text) == offered
    site.rows("UPDATE \"case\" SET trigger = 'policy' WHERE id = :id RETURNING 1", id=case)
    owner = client_of(site, factories.OWNER)
    assert f"/c/{case}/put-off" not in owner.get(f"/c/{case}").text
    answer = post(owner, f"/c/{case}/put-off", span="4h", note="why", token="")
    assert (answer.status_code, "A policy asks" in answer.text) == (403, True)


def test_a_lead_merges_cases_and_takes_them_apart(site: Site) -> None:
    case, into, lead = site.case(), site.case(), client_of(site, factories.LEAD)
    answer = post(lead, f"/c/{case}/merge", into=str(into))
    assert answer.headers["location"] == f"/c/{into}"
    assert tuple(site.rows(_INCIDENT, id=case)[0]) == ("merged", into)
    whole = lead.get(f"/c/{into}").text
    assert f'href="/c/{case}"' in whole
    assert f"/c/{into}/verdict" not in whole
    page = lead.get(f"/c/{case}").text
    assert f'href="/c/{into}"' in page
    assert "/verdict" not in page
    assert post(lead, f"/c/{case}/unmerge").headers["location"] == f"/c/{case}"
    assert tuple(site.rows(_INCIDENT, id=case)[0]) == ("open", None)


@pytest.mark.parametrize(
    ("into", "said"),
    [("", "Write the number"), ("999999999", "There is no case 999999999"), ("self", "no part")],
)
def test_a_merge_that_cannot_be_is_said_in_place(site: Site, into: str, said: str) -> None:
    case, lead = site.case(), client_of(site, factories.LEAD)
    answer = post(lead, f"/c/{case}/merge", into=str(case) if into == "self" else into)
    assert answer.status_code == 422
    assert said in answer.text
    assert tuple(site.rows(_INCIDENT, id=case)[0]) == ("open", None)


def test_an_owner_is_not_offered_to_merge(site: Site) -> None:
    case, owner = site.case(), client_of(site, factories.OWNER)
    assert "/merge" not in owner.get(f"/c/{case}").text
    assert post(owner, f"/c/{case}/merge", into="1").status_code == 403
