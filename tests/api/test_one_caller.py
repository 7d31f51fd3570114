"""No request hurts the others: a real server, watched while it is sent what hurts."""

import json
import socket
import string
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from secondlook.conditions import CHOICES
from secondlook.extent import SEARCHES

from tests.factories import ADMIN, TOOL
from tests.factories.installation import Installation, cloned, open_resources, populate
from tests.factories.web_process import HealthWatch, WebProcess, web_process
from tests.waiting import until

_MIB = 1024 * 1024
_FLAT = 24 * _MIB
_PATIENCE = 0.1
_TRIES = 15
_POLLS = 1_200
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def installation(postgres_url: str) -> Iterator[Installation]:
    """A database with a tool and people."""
    with cloned(postgres_url) as url:
        resources = open_resources(url, log_partitions=2)
        populate(resources.database)
        yield Installation(resources)
        resources.close()


@pytest.fixture(scope="module")
def key(installation: Installation) -> str:
    """A key of the tool."""
    return installation.key()


@pytest.fixture(scope="module")
def server(
    installation: Installation,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[WebProcess]:
    """The API and the pages on it."""
    folder = tmp_path_factory.mktemp("web")
    with web_process(installation.resources.database_url, folder, free_port()) as running:
        running.request("GET", "/sign-in")
        yield running


def _require_health(server: WebProcess, hurt: Callable[[], object]) -> None:
    """Whatever `hurt` does, nobody waits for it longer than they do beside it anyway. The machine
    may be busy, so one of many counts: what holds up the server holds it up each time."""
    longest = []
    for _ in range(_TRIES):
        with HealthWatch(server) as health:
            begun = time.monotonic()
            hurt()
            took = time.monotonic() - begun
        with HealthWatch(server) as calm:
            time.sleep(took)
        longest.append((health.longest, calm.longest))
        if health.longest < _PATIENCE + calm.longest:
            return
    raise AssertionError(longest)


def _multipart(size: int) -> Iterator[bytes]:
    """The chunks of a form of half-MiB files, `size` bytes in all."""
    file = b"\r\n--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" + b"y" * (
        _MIB // 2
    )
    return (file for _ in range(size // len(file)))


@pytest.mark.parametrize(
    "head",
    [
        "GET /sign-in HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x",
        "POST /sign-in HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x",
        f"POST /sign-in HTTP/1.1\r\nContent-Type: {_FORM}\r\nSec-Fetch-Site: same-origin",
        f"POST /sign-in HTTP/1.1\r\nContent-Type: {_FORM}\r\nAuthorization: Bearer made-up",
        f"POST /v1/outputs HTTP/1.1\r\nContent-Type: {_JSON}\r\nAuthorization: Bearer made-up",
        f"PUT /v1/tools/x HTTP/1.1\r\nContent-Type: {_JSON}\r\nAuthorization: Bearer made-up",
        "GET /static/app.css HTTP/1.1",
        "DELETE /nowhere HTTP/1.1",
    ],
)
def test_body_of_300_mb_without_a_sign_in_costs_nothing(head: str, server: WebProcess) -> None:
    memory, cpu = server.memory(), server.cpu()
    sent, _ = server.send_for_ever(head, _multipart(300 * _MIB))
    assert sent < 32 * _MIB
    assert server.memory() - memory < _FLAT
    assert server.cpu() - cpu < 1


def test_form_that_is_too_large_is_told_so_on_a_page(server: WebProcess) -> None:
    form = b"x=" + b"y" * 2 * _MIB
    status, said = server.request("POST", "/sign-in", form, Content_Type=_FORM)
    assert (status, said[:9].lower()) == (413, b"<!doctype")


def test_batch_that_is_too_large_is_told_so(server: WebProcess, key: str) -> None:
    sent = {"Content_Type": _JSON, "Authorization": f"Bearer {key}"}
    status, said = server.request("POST", "/v1/outputs", b"[" + b" " * 9 * _MIB + b"]", **sent)
    assert (status, json.loads(said)["status"]) == (413, 413)


_BAD = {
    "empty objects": b"[" + b"{}," * 600_000 + b"{}]",
    "names": b'[{"' + b'":1,"'.join(b"%d" % n for n in range(600_000)) + b'":1}]',
    "numbers": b"[" + b"1," * 4_000_000 + b"1]",
    "one text": b'["' + b"x" * 8_000_000 + b'"]',
    "nested": b"[" * 4_000_000 + b"]" * 4_000_000,
    "escapes": b'["' + b"\\ud800" * 1_200_000 + b'"]',
    "lists": b"[" + b"[]," * 2_600_000 + b"[]]",
}


@pytest.mark.parametrize("path", ["/v1/events", "/v1/outputs", "/v1/corrections"])
@pytest.mark.parametrize("what", _BAD)
def test_batch_that_is_no_batch_delays_nobody(
    path: str, what: str, server: WebProcess, key: str
) -> None:
    sent = {"Content_Type": _JSON, "Authorization": f"Bearer {key}"}
    server.request("POST", path, b"[]", **sent)
    memory = server.memory()
    status, said = server.request("POST", path, _BAD[what], **sent)
    assert status == 422
    assert len(said) < 20_000
    _require_health(server, lambda: server.request("POST", path, _BAD[what], **sent))
    assert server.memory() - memory < 4 * _FLAT


_OF_A_PERSON = {
    "/v1/tools/support-triage": {
        "thresholds": {"category_thresholds": {f"n{n}": True for n in range(59_000)}},
        "names": {
            "category_thresholds": dict.fromkeys(("x" * 201 + str(n) for n in range(9_000)), 1)
        },
        "members": {f"n{n}": 1 for n in range(59_000)},
        "categories": {"categories": [1] * 59_000},
        "review_when": {"review_when": [{"id": n} for n in range(29_000)]},
    },
    "/v1/cases/1/comment": {
        "members": {f"n{n}": 1 for n in range(11_900)},
        "note": {"note": [1] * 11_900},
    },
}


@pytest.mark.parametrize(
    ("path", "what"), [(path, what) for path, bad in _OF_A_PERSON.items() for what in bad]
)
def test_body_of_a_person_delays_nobody(
    path: str, what: str, server: WebProcess, installation: Installation
) -> None:
    method = "PUT" if "tools" in path else "POST"
    token = installation.token(ADMIN)
    sent = {"Content_Type": _JSON, "Authorization": f"Bearer {token}"}
    body = json.dumps(_OF_A_PERSON[path][what]).encode()
    status, said = server.request(method, path, body, **sent)
    assert (status, len(said) < 50_000) == (422, True)
    _require_health(server, lambda: server.request(method, path, body, **sent))


def test_outputs_under_a_policy_that_asks_for_much_delay_nobody(
    server: WebProcess, installation: Installation, key: str
) -> None:
    signs = [sign for sign in string.printable if sign.isalnum() and sign not in TOOL]
    patterns = [f"*{sign}*" for sign in signs * SEARCHES][:SEARCHES]
    lists = [patterns[at : at + CHOICES] for at in range(0, SEARCHES, CHOICES)]
    conditions = [{"id": f"c{n}", "when": {"tool": some}} for n, some in enumerate(lists)]
    some = {"kind": "category", "value": "refund", "confidence": 1}
    outputs = [{**some, "output_id": uuid4().hex[:9]} for _ in range(800)]
    body = json.dumps(outputs, separators=(",", ":")).encode()
    assert len(body) < 64 * 1024, "small enough to be read by the event loop"
    sent = {"Content_Type": _JSON, "Authorization": f"Bearer {key}"}

    def send() -> tuple[int, Any]:
        status, said = server.request("POST", "/v1/outputs", body, **sent)
        return status, json.loads(said)["results"][-1]["policy_revision"]

    before = send()
    _set_conditions(server, installation, conditions)
    until(lambda: send() > before)
    _require_health(server, send)
    _set_conditions(server, installation, [])


def _set_conditions(server: WebProcess, installation: Installation, conditions: list[Any]) -> None:
    sent = {"Content_Type": _JSON, "Authorization": f"Bearer {installation.token(ADMIN)}"}
    body = json.dumps({"review_when": conditions}).encode()
    assert server.request("PUT", f"/v1/tools/{TOOL}", body, **sent)[0] == 200


def test_more_waiting_tools_than_requests_at_once_leave_room_for_both(
    server: WebProcess, key: str
) -> None:
    tag = _policy_tag(server, key)
    head = f"GET /v1/policy?wait=30 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    poll = f"{head}If-None-Match: {tag}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(_POLLS):
            waiting = socket.create_connection(("127.0.0.1", server.port))
            stack.enter_context(waiting).sendall(poll)
        sent = {"Content_Type": _JSON, "Authorization": f"Bearer {key}"}
        _require_health(server, lambda: server.request("POST", "/v1/outputs", b"[]", **sent))
        assert server.request("POST", "/v1/outputs", b"[]", **sent)[0] == 202


def _policy_tag(server: WebProcess, key: str) -> str:
    connection = server.connect()
    connection.request("GET", "/v1/policy", headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return str(answer.headers["ETag"])


def test_client_that_hangs_up_leaves_nothing_in_the_log(server: WebProcess, key: str) -> None:
    head = f"POST /v1/outputs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head += f"Content-Type: {_JSON}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"[")
        until(lambda: server.request("GET", "/healthz")[0] == 200)
    for _ in range(20):
        server.request("GET", "/healthz")
    assert "unhandled" not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()
