"""What the lists of cases and outputs say of an output with nothing in it, and of none."""

from collections.abc import Iterator

import pytest

from services.feedback import service as feedback
from services.kit.clock import DatabaseClock
from tests import factories
from tests.factories import FIELDS, TEXT
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of
from tests.waiting import until


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """A site with an empty text, no fields, and a correction whose output never came."""
    with open_site(postgres_url) as opened:
        with at_work(opened):
            opened.case(TEXT, value="")
            opened.case(FIELDS, value={})
            _never_came(opened)
        yield opened


def _never_came(site: Site) -> None:
    site.send(factories.correction("lost", value="tax"))
    until(lambda: site.one("SELECT count(*) FROM correction") == 1)
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        feedback.report_unmatched(session, now=now, before=now)
    site.case_of("lost")


def _titles(page: str) -> list[str]:
    return [part.partition("</span>")[0] for part in page.split('<span class="claim"><span>')[1:]]


def test_output_with_nothing_in_it_is_called_empty(site: Site) -> None:
    owner = client_of(site, factories.OWNER)
    for tool in (TEXT, FIELDS):
        for path in (f"/queue?tool={tool}", f"/outputs?tool={tool}"):
            assert _titles(owner.get(path).text) == ["Empty"], path


def test_queue_is_narrowed_to_cases_without_an_output(site: Site) -> None:
    owner = client_of(site, factories.OWNER)
    assert 'href="/queue?trigger=unmatched">No output</a>' in owner.get("/queue").text
    narrowed = owner.get("/queue?trigger=unmatched").text
    assert "1 case" in narrowed
    assert "No output</s>" in narrowed
