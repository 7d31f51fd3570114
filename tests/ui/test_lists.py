"""What the lists of cases and outputs say of an output with nothing in it, and of none."""

from collections.abc import Iterator

import pytest

from services.feedback import service as feedback
from services.kit.clock import DatabaseClock
from tests import house
from tests.browser.town import FIELDS, TEXT, Town, at_work, resources
from tests.ui.pages import client_of


@pytest.fixture(scope="module")
def town(postgres_url: str) -> Iterator[Town]:
    """A town with an empty text, no fields, and a correction whose output never came."""
    with resources(postgres_url) as opened:
        made = Town(opened)
        with at_work(opened):
            made.case(TEXT, value="")
            made.case(FIELDS, value={})
            _never_came(made)
        yield made


def _never_came(town: Town) -> None:
    said = house.correction("lost", value="tax")
    town.resources.intake.say([said])
    town.until(lambda: town.one("SELECT count(*) FROM correction") == 1)
    with town.database.transaction() as session:
        now = DatabaseClock().now(session)
        feedback.report_unmatched(session, now=now, before=now)
    town.case_of("lost")


def _titles(page: str) -> list[str]:
    return [part.partition("</span>")[0] for part in page.split('<span class="claim"><span>')[1:]]


def test_output_with_nothing_in_it_is_called_empty(town: Town) -> None:
    owner = client_of(town, house.OWNER)
    for tool in (TEXT, FIELDS):
        for path in (f"/queue?tool={tool}", f"/outputs?tool={tool}"):
            assert _titles(owner.get(path).text) == ["Empty"], path


def test_queue_is_narrowed_to_cases_without_an_output(town: Town) -> None:
    owner = client_of(town, house.OWNER)
    assert 'href="/queue?trigger=unmatched">No output</a>' in owner.get("/queue").text
    narrowed = owner.get("/queue?trigger=unmatched").text
    assert "1 case" in narrowed
    assert "No output</s>" in narrowed
