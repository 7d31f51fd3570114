"""Pages and API side by side."""

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send


class OneOrigin:
    """Pages and API on one origin: each request passes through its own app alone."""

    def __init__(self, *, pages: FastAPI, api: FastAPI, api_paths: tuple[str, ...]) -> None:
        self.pages, self.api, self._api_paths = pages, api, api_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the API's paths to the API, everything else to the pages."""
        of_api = scope["type"] == "http" and scope["path"].startswith(self._api_paths)
        await (self.api if of_api else self.pages)(scope, receive, send)
