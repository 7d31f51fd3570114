"""Where the server listens, noted for commands that run beside it."""

import json
import os

from services.kit.processes.existence import exists
from services.kit.settings import Settings

_NOTE = "listening.json"


def remember(settings: Settings, address: str) -> None:
    """Note the address that this process, the supervisor, listens on."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    path = settings.data_dir / _NOTE
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"address": address, "pid": os.getpid()}), encoding="utf-8")
    fresh.replace(path)


def running(settings: Settings) -> str | None:
    """The address of the server that runs on this data folder, or None."""
    try:
        note = json.loads((settings.data_dir / _NOTE).read_text(encoding="utf-8"))
        return str(note["address"]) if exists(int(note["pid"])) else None
    except (OSError, ValueError, KeyError):
        return None


def address(settings: Settings) -> str:
    """The address that people use: the public one, the one that listens, or the one set."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    return running(settings) or f"http://{settings.host}:{settings.port}"


def api_address(settings: Settings) -> str:
    """The address that tools use."""
    return settings.api_url.rstrip("/") if settings.api_url is not None else address(settings)
