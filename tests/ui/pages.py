"""The pages without a browser: who is signed in, and forms that are sent."""

import re

from fastapi.testclient import TestClient
from httpx2 import Response

from services.tools.identity import COOKIE
from tests.factories.site import Site


def client_of(site: Site, email: str | None) -> TestClient:
    """Somebody at the pages, without a browser; nobody signed in where `email` is None."""
    client = TestClient(
        site.app,
        base_url="http://127.0.0.1",
        headers={"sec-fetch-site": "same-origin"},
        follow_redirects=False,
    )
    if email is not None:
        client.cookies.set(COOKIE, site.session(email))
    return client


def post(client: TestClient, path: str, **fields: str | list[str]) -> Response:
    """A POST with the token of a page of this person's."""
    page = client.get("/account")
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found is not None
    return client.post(path, data={"csrf_token": found[1], **fields})
