"""Headers of every answer, and the two proofs that an unsafe request must bring."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.ui_foundation.gallery_app import TOKEN, make_app
from ui.kit.security import content_security_policy

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(make_app(), follow_redirects=False) as client:
        yield client


def save(client: TestClient, **given: Any) -> Response:
    return client.post("/parts/save", **given)


@pytest.mark.parametrize("path", ["/queue", "/gallery", "/errors/404", "/nowhere", "/sign-in"])
def test_page_carries_every_header(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] == "no-store"


def test_static_file_keeps_its_own_caching(client: TestClient) -> None:
    headers = client.get("/static/app.js").headers
    assert headers["cache-control"] == "public, no-cache"
    assert headers["content-security-policy"] == POLICY


def test_widget_policy_differs_in_its_ancestors_only() -> None:
    widget = content_security_policy(frame_ancestors="https://desk.example")
    assert widget == POLICY.replace(
        "frame-ancestors 'none'", "frame-ancestors https://desk.example"
    )


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_request_of_this_site_with_token_passes(client: TestClient, site: str) -> None:
    headers = {"Sec-Fetch-Site": site}
    assert save(client, headers=headers, data={"csrf_token": TOKEN}).status_code == 200
    assert save(client, headers=headers | {"X-CSRF-Token": TOKEN}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "nonsense"])
def test_request_of_another_site_is_refused_even_with_token(client: TestClient, site: str) -> None:
    answer = save(
        client,
        headers={"Sec-Fetch-Site": site, "Origin": "http://testserver"},
        data={"csrf_token": TOKEN},
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://testserver", 200),
        ("http://TESTSERVER:80", 200),
        ("https://testserver", 403),
        ("http://testserver:8080", 403),
        ("http://testserver.evil.example", 403),
        ("null", 403),
        ("http://testserver:x", 403),
        (None, 403),
    ],
)
def test_old_browser_is_judged_by_its_origin(
    client: TestClient, origin: str | None, status: int
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert save(client, headers=headers, data={"csrf_token": TOKEN}).status_code == status


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + " ", TOKEN[:-1]])
def test_wrong_token_is_refused(client: TestClient, token: str) -> None:
    assert save(client, headers=OURS, data={"csrf_token": token}).status_code == 403
    assert save(client, headers=OURS | {"X-CSRF-Token": token}).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_every_unsafe_method_needs_a_token(client: TestClient, method: str) -> None:
    assert client.request(method, "/parts/save", headers=OURS).status_code == 403


def test_json_needs_the_header(client: TestClient) -> None:
    assert save(client, headers=OURS, json={"csrf_token": TOKEN}).status_code == 403
    answer = save(client, headers=OURS | {"X-CSRF-Token": TOKEN}, json={"a": 1})
    assert answer.status_code == 200


def test_form_reaches_the_app_whole(client: TestClient) -> None:
    data = {"csrf_token": TOKEN, "note": "é\n" * 1000, "b": ""}
    save(client, headers=OURS, data=data)
    desk = client.app.state.desk  # type: ignore[attr-defined]
    assert desk.posts[-1] == ("save", data)


def test_multipart_form_reaches_the_app_whole(client: TestClient) -> None:
    files = {"paper": ("a.csv", b"x;y\n" * 5000, "text/csv")}
    answer = save(client, headers=OURS, data={"csrf_token": TOKEN}, files=files)
    assert answer.status_code == 200
    desk = client.app.state.desk  # type: ignore[attr-defined]
    assert set(desk.posts[-1][1]) == {"csrf_token", "paper"}
    assert save(client, headers=OURS, data={"a": "b"}, files=files).status_code == 403


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"],
)
def test_broken_multipart_is_refused(client: TestClient, kind: str) -> None:
    answer = save(client, headers=OURS | {"Content-Type": kind}, content=b"--y\r\nnonsense")
    assert answer.status_code == 403


def test_large_form_is_refused_before_it_is_read_whole(client: TestClient) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 65536
            yield b"a" * 65536

    headers = OURS | {"Content-Type": "application/x-www-form-urlencoded"}
    assert save(client, headers=headers, content=body()).status_code == 413
    many = "&".join(f"a{n}=" for n in range(9000)) + f"&csrf_token={TOKEN}"
    assert save(client, headers=headers, content=many).status_code == 403


def test_bearer_proves_itself_otherwise(client: TestClient) -> None:
    assert save(client, headers={"Authorization": "Bearer sl_x"}).status_code == 200
    assert save(client, headers={"Authorization": "Basic eA=="}).status_code == 403


def test_refusal_says_what_to_do_and_changes_nothing(client: TestClient) -> None:
    answer = save(client, headers=OURS)
    assert "Reload it" in answer.text
    assert client.app.state.desk.posts == []  # type: ignore[attr-defined]


def test_reading_needs_no_proof(client: TestClient) -> None:
    assert client.get("/parts", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
