"""Structured log records, one JSON object a line, without secrets."""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET = re.compile(r"\b(sl|slp|sls|sll)_[A-Za-z0-9_-]{8,}|(postgres(?:ql)?://[^:/\s]+):[^@\s]+@")


def _mask(text: str) -> str:
    """The text with keys, tokens and database passwords blotted out."""
    return _SECRET.sub(lambda m: f"{m[2]}:***@" if m[2] else f"{m[1]}_***", text)


def mask_secrets(_: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blot out secrets in every text of a log record, tracebacks included."""
    for key, value in record.items():
        if isinstance(value, str):
            record[key] = _mask(value)
    return record


def configure(level: str, *, role: str) -> None:
    """Send every log record of this process, ours and libraries', to stderr as JSON."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("kafka", "httpx2", "httpcore2", "alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.bind_contextvars(role=role)
