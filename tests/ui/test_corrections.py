"""What a rep types on an output's page is not lost where it cannot be stored just now."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlencode

import pytest
from sqlalchemy import text

from services.feedback import intake
from tests import factories
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of, post

_NOTE = "The customer wrote again & asks for <both>."
_SHOWN = "The customer wrote again &amp; asks for &lt;both&gt;."


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    with open_site(postgres_url) as opened, at_work(opened):
        yield opened


@contextmanager
def _full(site: Site, _: pytest.MonkeyPatch) -> Iterator[str]:
    """So much waits to be stored that no more is taken."""
    worker = site.resources.intake.worker
    with worker._ready:
        worker._waiting["others"] += worker._waiting_size
    try:
        yield "More comes in than can be stored just now"
    finally:
        with worker._ready:
            worker._waiting["others"] -= worker._waiting_size


@contextmanager
def _slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Somebody holds the log, for longer than a page waits."""
    monkeypatch.setattr(intake, "_PATIENCE_SECONDS", 0.2)
    with site.database.transaction() as session:
        session.execute(text("LOCK TABLE log_record IN EXCLUSIVE MODE"))
        yield "Storing takes longer than usual"


@pytest.mark.parametrize(("hindered", "status"), [(_full, 429), (_slow, 503)])
def test_correction_that_cannot_be_stored_leaves_what_was_typed(
    hindered: Callable[..., AbstractContextManager[str]],
    status: int,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output_id = site.output(confidence=0.9)
    path = f"/output?{urlencode({'tool': factories.TOOL, 'id': output_id})}"
    client = client_of(site, factories.REP)
    with hindered(site, monkeypatch) as said:
        answer = post(client, path, choice="unsure", note=_NOTE)
    assert (answer.status_code, said in answer.text, _SHOWN in answer.text) == (status, True, True)
    if status == 429:
        assert site.one("SELECT count(*) FROM correction WHERE output_id = :id", id=output_id) == 0
        assert post(client, path, choice="unsure", note=_NOTE).status_code == 303
        note = "SELECT note FROM correction WHERE output_id = :id"
        assert site.one(note, id=output_id) == _NOTE
