"""The gallery app on a port, in a Chromium."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.harness import Look, chromium, look, serve_app
from tests.ui_foundation.gallery_app import make_app
from tests.ui_foundation.samples import NOW

__all__ = ["chromium"]

PAYLOADS = tuple(Path(__file__).with_name("payloads.txt").read_text(encoding="utf-8").splitlines())


@pytest.fixture
def origin() -> Iterator[str]:
    """The app with its cases as they are in the samples."""
    with serve_app(make_app(payloads=PAYLOADS)) as address:
        yield address


@pytest.fixture
def looking(
    chromium: Browser, origin: str, request: pytest.FixtureRequest
) -> Callable[..., AbstractContextManager[Look]]:
    """`looking(theme=…, size=…, javascript=…)`: a context whose clock is the samples'."""

    def opened(**given: Any) -> AbstractContextManager[Look]:
        return look(chromium, origin, name=request.node.name, at=NOW, **given)

    return opened
