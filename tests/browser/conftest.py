"""One site and one Chromium for each module."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.harness import Look, chromium, look
from tests.factories.site import Site, open_served_site

__all__ = ["chromium"]

Visit = Callable[..., AbstractContextManager[Look]]


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """The product at work."""
    with open_served_site(postgres_url) as opened:
        yield opened


@pytest.fixture(params=[True, False], ids=["script", "no-script"])
def script(request: pytest.FixtureRequest) -> bool:
    """Once with JavaScript and once without."""
    return bool(request.param)


@pytest.fixture
def visit(chromium: Browser, site: Site, request: pytest.FixtureRequest) -> Visit:
    """`visit(email, javascript=…, size=…)`: a browser in which that person is signed in."""

    def opened(email: str | None, **given: Any) -> AbstractContextManager[Look]:
        if email is not None:
            given["storage_state"] = site.signed_in(email)
        return look(chromium, site.origin, name=request.node.name, **given)

    return opened
