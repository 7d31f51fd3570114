"""The page of a case that several people review, without a browser."""

from collections.abc import Iterator

import pytest
from httpx2 import Response

from tests import factories
from tests.factories import ADMIN, LEAD, OWNER, TEAMMATE
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of, post

_STATE = 'SELECT state, verdict, verdict_by FROM "case" WHERE id = :id'
_SEVERAL = 'UPDATE "case" SET reviewers = 2, blind = true WHERE id = :id RETURNING id'


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """The product without a browser."""
    with open_site(postgres_url) as opened, at_work(opened):
        yield opened


@pytest.fixture
def case(site: Site) -> int:
    """A case that asks two reviewers."""
    number = site.case()
    site.one(_SEVERAL, id=number)
    return number


def say(site: Site, who: str, case: int, value: str, **more: str) -> Response:
    given = {"choice": f"is:{value}", "token": "", **more}
    return post(client_of(site, who), f"/c/{case}/verdict", **given)


def page(site: Site, who: str, case: int) -> str:
    return client_of(site, who).get(f"/c/{case}").text


def test_page_says_who_is_needed_and_shows_ones_own_opinion_alone(site: Site, case: int) -> None:
    before = page(site, OWNER, case)
    assert "2 people review this case" in before
    assert "Nobody has given an opinion yet." in before
    assert "AI said" not in before
    answer = say(site, OWNER, case, "tax")
    assert answer.status_code == 303
    own, others = page(site, OWNER, case), page(site, TEAMMATE, case)
    assert "Your opinion: <b>tax</b>" in own
    assert "1 more is needed: Lea" in own
    assert 'id="verdict"' not in own
    assert "Your opinion" not in others
    assert 'id="verdict"' in others


def test_opinion_is_taken_back_on_the_page(site: Site, case: int) -> None:
    say(site, OWNER, case, "tax")
    post(client_of(site, OWNER), f"/c/{case}/undo", verdict_id="opinion")
    assert "Your opinion" not in page(site, OWNER, case)


def test_second_claim_is_refused_with_why(site: Site, case: int) -> None:
    say(site, OWNER, case, "tax")
    answer = post(client_of(site, OWNER), f"/c/{case}/claim")
    assert answer.status_code == 403
    assert "You gave your opinion on this case" in answer.text


def test_lead_settles_with_the_opinions_side_by_side(site: Site, case: int) -> None:
    for who, value in ((OWNER, "tax"), (TEAMMATE, "refund"), (factories.ADMIN, "billing")):
        say(site, who, case, value)
    shown = page(site, LEAD, case)
    assert "They all differ, so a lead settles it" in shown
    for who in ("Olga", "Tim", "Ada"):
        assert f'aria-label="Opinion of {who}"' in shown
    assert "AI said" not in shown
    choice = f"opinion:{TEAMMATE}"
    assert f'value="{choice}"' in shown
    post(client_of(site, LEAD), f"/c/{case}/verdict", choice=choice, token="")
    assert tuple(site.one(_STATE, id=case)) == ("resolved", "corrected", LEAD)
    assert "settled by a lead" in page(site, OWNER, case)


def test_opinion_of_others_is_chosen_by_nobody_who_may_not_see_it(site: Site, case: int) -> None:
    say(site, OWNER, case, "tax")
    choice = {"choice": f"opinion:{OWNER}", "token": ""}
    answer = post(client_of(site, TEAMMATE), f"/c/{case}/verdict", **choice)
    assert answer.status_code == 422
    assert site.verdict(case)[0] is None


def test_lead_decides_alone_and_must_say_why(site: Site, case: int) -> None:
    assert "Decide alone" in page(site, LEAD, case)
    assert "Decide alone" not in page(site, OWNER, case)
    refused = say(site, LEAD, case, "tax", alone="on", note="")
    assert refused.status_code == 422
    assert "needs a note" in refused.text
    say(site, LEAD, case, "tax", alone="on", note="nobody is there")
    assert tuple(site.one(_STATE, id=case)) == ("resolved", "corrected", LEAD)


@pytest.mark.parametrize("choice", ["undecidable", "not_actionable"])
def test_verdict_that_needs_a_note_says_so_before_and_after(site: Site, choice: str) -> None:
    case = site.case()
    assert page(site, OWNER, case).count("This verdict needs a note.") == 2
    refused = post(client_of(site, OWNER), f"/c/{case}/verdict", choice=choice, token="", note="")
    assert refused.status_code == 422
    assert "needs a note that says why" in refused.text
    given = {"choice": choice, "token": "", "note": "the photo is missing"}
    assert post(client_of(site, OWNER), f"/c/{case}/verdict", **given).status_code == 303
    assert site.verdict(case) == (choice, None, OWNER)


def test_case_is_handed_to_another_team_with_a_note_and_the_rep_hears_of_it(site: Site) -> None:
    output_id = site.output(confidence=0.9)
    site.say(output_id, kind="dispute", note="no bill")
    case = site.case_of(output_id)
    client = client_of(site, OWNER)
    assert "Hand to another team" in page(site, OWNER, case)
    to = {"owner": f"team:{factories.OTHER_TEAM}", "token": ""}
    refused = post(client, f"/c/{case}/hand-on", **to, note=" ")
    assert refused.status_code == 422
    assert post(client, f"/c/{case}/hand-on", **to, note="needs tax law").status_code == 303
    assert client.get(f"/c/{case}").status_code == 404
    assert "needs tax law" in page(site, factories.OUTSIDER, case)
    post(client_of(site, factories.OUTSIDER), f"/c/{case}/verdict", choice="upheld", token="")
    inbox = "SELECT count(*) FROM notification WHERE person = :who AND output_id = :id"
    from tests.waiting import until

    until(lambda: site.one(inbox, who=factories.REP, id=output_id) == 1)


def test_comment_shows_links_and_whom_it_mentions(site: Site, case: int) -> None:
    note = "@tim see https://example.org/evidence?a=1 and javascript:alert(1)"
    answer = post(client_of(site, OWNER), f"/c/{case}/comment", note=note, token="")
    assert answer.status_code == 303
    shown = page(site, OWNER, case)
    link = '<a href="https://example.org/evidence?a=1" rel="noopener nofollow">'
    assert link in shown
    assert 'href="javascript' not in shown
    assert f"Mentioned {TEAMMATE}" in shown
    refused = post(client_of(site, OWNER), f"/c/{case}/comment", note="@otto look", token="")
    assert refused.status_code == 422
    assert f"{factories.OUTSIDER} cannot see this case" in refused.text


def test_page_says_where_nobody_else_is_left(site: Site, case: int) -> None:
    site.one(
        """WITH said AS (INSERT INTO own_correction
            (tool, correction_id, output_id, actor, heard_at)
            SELECT o.tool, p.email || o.output_id, o.output_id, p.email, now()
            FROM case_output o CROSS JOIN person p WHERE o.case_id = :id RETURNING 1)
        SELECT count(*) FROM said""",
        id=case,
    )
    assert 'id="left-alone"' in page(site, ADMIN, case)
    assert 'id="verdict"' in page(site, ADMIN, case)
    assert 'id="left-alone"' not in page(site, LEAD, case)
    assert "You corrected this output yourself" in page(site, LEAD, case)
    assert say(site, ADMIN, case, "tax").status_code == 303
    assert "as nobody without one was left" in page(site, LEAD, case)


def test_opinion_that_stays_has_no_button(site: Site, case: int) -> None:
    say(site, OWNER, case, "tax")
    say(site, TEAMMATE, case, "tax")
    assert 'id="take-back"' not in page(site, OWNER, case)
    verdict = site.one('SELECT verdict_id FROM "case" WHERE id = :id', id=case)
    post(client_of(site, TEAMMATE), f"/c/{case}/undo", verdict_id=verdict)
    shown = page(site, OWNER, case)
    assert "All were shown once, so it stays." in shown
    assert 'id="take-back"' not in shown
