"""Headers of every answer, and the two proofs that an unsafe request must bring."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.ui_foundation.gallery_app import TOKEN, make_app
from ui.kit.forms import Form
from ui.kit.security import content_security_policy

POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
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


@pytest.mark.parametrize(("method", "status"), [("POST", 403), ("PUT", 405), ("BREW", 405)])
def test_no_unsafe_method_goes_without_a_token(
    client: TestClient, method: str, status: int
) -> None:
    assert client.request(method, "/parts/save", headers=OURS).status_code == status


def test_form_reaches_the_app_whole(client: TestClient) -> None:
    data = {"csrf_token": TOKEN, "note": "é\n" * 1000, "b": ""}
    save(client, headers=OURS, data=data)
    gallery = client.app.state.gallery  # type: ignore[attr-defined]
    assert gallery.posts[-1] == ("save", data)


def pieces_read(method: str, path: str, headers: dict[str, str], piece: bytes) -> tuple[int, int]:
    """The status that is answered to a body without end, and how many pieces of it were read."""
    read, statuses = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
    scope |= {"query_string": b"", "headers": raw, "scheme": "http", "server": ("testserver", 80)}
    asyncio.run(make_app()(scope, receive, send))  # type: ignore[arg-type]
    return statuses[0], read


MULTIPART = "multipart/form-data; boundary=x"
_PART = b'--x\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n'


@pytest.mark.parametrize("kind", [MULTIPART, "multipart/form-data", "text/plain", ""])
@pytest.mark.parametrize("token", [TOKEN, ""])
def test_only_plain_forms_are_read(kind: str, token: str) -> None:
    headers = OURS | {"Content-Type": kind, "X-CSRF-Token": token}
    status, read = pieces_read("POST", "/parts/save", headers, _PART + b"y" * 60_000)
    assert status == 415
    assert read <= 1


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "most"),
    [
        ("POST", "/parts/save", OURS | FORM, 413, 17),
        ("POST", "/parts/save", OURS | FORM | {"X-CSRF-Token": TOKEN}, 413, 17),
        ("POST", "/parts/save", OURS | FORM | {"Authorization": "Bearer sl_x"}, 413, 17),
        ("POST", "/parts/save", FORM, 403, 0),
        ("POST", "/nowhere", OURS | FORM, 404, 0),
        ("PUT", "/parts/save", OURS | FORM, 405, 0),
        ("GET", "/parts", OURS | FORM, 200, 0),
        ("GET", "/sign-in", OURS | {"Content-Type": MULTIPART}, 200, 0),
    ],
)
def test_no_more_of_a_body_is_read_than_a_form_may_hold(
    method: str, path: str, headers: dict[str, str], status: int, most: int
) -> None:
    answered, read = pieces_read(method, path, headers, b"a" * 65_536)
    assert answered == status
    assert read <= most


@pytest.mark.parametrize(
    "content",
    [
        "&".join(f"a{n}=" for n in range(1200)) + f"&csrf_token={TOKEN}",
        "&" * 1_000_000,
        "a=" + "&b=" * 300_000,
    ],
)
def test_form_of_many_fields_is_refused(client: TestClient, content: str) -> None:
    assert save(client, headers=OURS | FORM, content=content).status_code == 422


@pytest.mark.parametrize("bytes_", [b"\xff", b"%ff", b"%ED%A0%80", b"caf%E9", b"%C3"])
@pytest.mark.parametrize("place", [b"note=", b""])
def test_bytes_that_are_no_text_are_refused(
    client: TestClient, bytes_: bytes, place: bytes
) -> None:
    content = b"csrf_token=" + TOKEN.encode() + b"&" + place + bytes_
    assert save(client, headers=OURS | FORM, content=content).status_code == 422
    assert client.app.state.gallery.posts == []  # type: ignore[attr-defined]


def test_letters_are_composed(client: TestClient) -> None:
    save(client, headers=OURS, data={"csrf_token": TOKEN, "note": "Cafe\u0301", "e\u0301": "x"})
    gallery = client.app.state.gallery  # type: ignore[attr-defined]
    assert gallery.posts[-1][1] == {"csrf_token": TOKEN, "note": "Caf\xe9", "\xe9": "x"}


def test_only_line_feeds_end_a_line() -> None:
    form = Form([("names", " a\u2028b \r\n\r\nc\x85d\re\x0bf")])
    assert form.lines("names") == ["a\u2028b", "c\x85d", "e\x0bf"]


def test_bearer_proves_nothing(client: TestClient) -> None:
    headers = OURS | {"Authorization": "Bearer sl_x"}
    assert save(client, headers=headers).status_code == 403
    assert save(client, headers=headers | {"X-CSRF-Token": TOKEN}).status_code == 200


def test_other_origin_is_told_the_setting(client: TestClient) -> None:
    answer = save(client, headers={"Origin": "https://look.example"}, data={"csrf_token": TOKEN})
    assert answer.status_code == 403
    assert "https://look.example" in answer.text
    assert "SECONDLOOK_PUBLIC_URL" in answer.text


def test_refusal_says_what_to_do_and_changes_nothing(client: TestClient) -> None:
    answer = save(client, headers=OURS)
    assert "Reload it" in answer.text
    assert client.app.state.gallery.posts == []  # type: ignore[attr-defined]


def test_reading_needs_no_proof(client: TestClient) -> None:
    assert client.get("/parts", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
