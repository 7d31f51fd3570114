"""Static files: addresses, caching, what is vendored, and how much of it there is."""

import gzip
import json
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.ui_foundation.gallery_app import make_app
from ui.kit.static_files import FOLDER, StaticFiles, read_asset

_VENDOR = FOLDER / "vendor"
_MANIFEST = json.loads((_VENDOR / "manifest.json").read_text(encoding="utf-8"))["files"]
_KB = 1024


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.mount("/static", StaticFiles())
    return TestClient(app)


def test_hashed_address_is_cached_for_ever(client: TestClient) -> None:
    answer = client.get(StaticFiles().url("app.css"))
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"] == "text/css; charset=utf-8"


@pytest.mark.parametrize("query", ["", "?v=000000000000"])
def test_other_address_asks_first(client: TestClient, query: str) -> None:
    answer = client.get("/static/app.css" + query)
    assert answer.headers["cache-control"] == "public, no-cache"
    again = client.get("/static/app.css", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_answer_is_zipped_only_where_asked(client: TestClient) -> None:
    plain = client.get("/static/app.js", headers={"Accept-Encoding": "identity"})
    zipped = client.get("/static/app.js", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert plain.content == zipped.content


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/nothing.css",
        "/static/../templating.py",
        "/static/%2e%2e/templating.py",
        "/static/vendor/../../templating.py",
        "/static//etc/passwd",
    ],
)
def test_nothing_outside_the_folder_exists(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_only_reading_is_answered(client: TestClient) -> None:
    assert client.post("/static/app.css").status_code == 405


def test_address_of_no_file_is_refused() -> None:
    with pytest.raises(LookupError, match="nothing"):
        StaticFiles().url("nothing.css")


@pytest.mark.parametrize("entry", _MANIFEST, ids=lambda entry: entry["file"])
def test_vendored_file_is_the_one_in_the_manifest(entry: dict[str, str]) -> None:
    assert read_asset(_VENDOR / entry["file"]).sha384 == entry["sha384"]
    assert read_asset(_VENDOR / entry["licence_file"]).sha384 == entry["licence_sha384"]
    version = entry["package"].rpartition("@")[2]
    assert version in entry["file"]


def test_nothing_is_vendored_without_being_in_the_manifest() -> None:
    listed = {entry[key] for entry in _MANIFEST for key in ("file", "licence_file")}
    assert {path.name for path in _VENDOR.iterdir()} == listed | {"manifest.json"}


def test_first_view_keeps_its_budget() -> None:
    client = TestClient(make_app())
    page = client.get("/queue/4821", headers={"Sec-Fetch-Site": "none"})
    addresses = set(re.findall(r'(?:src|href)="(/static/[^"#]+)', page.text))
    assert len(addresses) + 1 <= 12
    sizes = {one: _sent(client.get(one).content, one) for one in addresses}
    scripts = sum(size for one, size in sizes.items() if ".js" in one)
    fonts = sum(size for one, size in sizes.items() if ".woff2" in one)
    assert scripts <= 35 * _KB, sizes
    assert fonts <= 50 * _KB, sizes
    assert sum(sizes.values()) + len(gzip.compress(page.content)) <= 120 * _KB, sizes


def _sent(content: bytes, address: str) -> int:
    return len(content) if ".woff2" in address else len(gzip.compress(content, 9))


def test_own_files_stay_readable() -> None:
    for name, most in (
        ("app.js", 400),
        ("keys.js", 200),
        ("drafts.js", 100),
        ("app.css", 300),
        ("components.css", 300),
        ("data.css", 200),
    ):
        assert len((FOLDER / name).read_text(encoding="utf-8").splitlines()) <= most, name
