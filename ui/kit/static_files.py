"""The static files, read once at the start, under addresses that change with the content."""

import base64
import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

FOLDER = Path(__file__).parent / "static"
_TYPES = {".woff2": "font/woff2", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "public, no-cache"
# Files below this folder carry their version in their name and never change under it.
_VENDOR = "vendor/"
_COMPRESSED = (".woff2", ".png")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to be sent."""

    body: bytes
    zipped: bytes | None
    media_type: str
    version: str
    sha384: str


def read_asset(path: Path) -> Asset:
    """Read, digest and compress one file."""
    body = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return Asset(
        body=body,
        zipped=None if path.suffix in _COMPRESSED else gzip.compress(body, 9, mtime=0),
        media_type=kind or "application/octet-stream",
        version=hashlib.sha256(body).hexdigest()[:12],
        sha384="sha384-" + base64.b64encode(hashlib.sha384(body).digest()).decode(),
    )


class StaticFiles:
    """An ASGI app to mount at `prefix`; `url` gives the address to write into pages.

    Nothing outside the folder can be asked for: only names that were read at the start exist.
    With `reload` every file is read again at each request, for work on the files themselves.
    """

    def __init__(
        self, folder: Path = FOLDER, *, prefix: str = "/static", reload: bool = False
    ) -> None:
        self.prefix = prefix
        self._folder = folder
        self._reload = reload
        self._assets = {
            path.relative_to(folder).as_posix(): read_asset(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def asset(self, name: str) -> Asset | None:
        """The file of that name, if there is one."""
        if self._reload and name in self._assets:
            self._assets[name] = read_asset(self._folder / name)
        return self._assets.get(name)

    def url(self, name: str) -> str:
        """The address of a file, which may be cached for ever.

        Raises:
            LookupError: when there is no such file; a page must not point at nothing.
        """
        asset = self.asset(name)
        if asset is None:
            raise LookupError(f"there is no static file '{name}'")
        if name.startswith(_VENDOR):
            return f"{self.prefix}/{name}"
        return f"{self.prefix}/{name}?v={asset.version}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("static files answer HTTP only")
        await self._respond(scope)(scope, receive, send)

    def _respond(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Method not allowed", 405, headers={"Allow": "GET, HEAD"})
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        asset = self.asset(name)
        if asset is None:
            return PlainTextResponse("Not found", 404, headers={"Cache-Control": "no-store"})
        asked = Headers(scope=scope)
        pinned = QueryParams(scope["query_string"]).get("v") == asset.version
        headers = {
            "Cache-Control": _FOR_EVER if pinned or name.startswith(_VENDOR) else _ASK_FIRST,
            "ETag": f'"{asset.version}"',
            "Vary": "Accept-Encoding",
            "Content-Type": asset.media_type
            + ("; charset=utf-8" if asset.media_type.startswith("text/") else ""),
        }
        if asked.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if asset.zipped is not None and "gzip" in asked.get("accept-encoding", ""):
            return Response(asset.zipped, headers=headers | {"Content-Encoding": "gzip"})
        return Response(asset.body, headers=headers)


@cache
def static_files() -> StaticFiles:
    """The product's own, read and compressed once."""
    return StaticFiles()
