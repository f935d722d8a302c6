"""The log: lines for people, or one JSON object in each line for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from transformers.utils import logging as of_transformers

from workers.serving.journal import Entry, current

FORMATS = ("text", "json")
QUIET = ("httpx", "httpcore")
log = logging.getLogger("workers.serving.requests")


class AsText(logging.Formatter):
    """Lines as people read them; the fields of a request stand behind its message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        line = super().formatMessage(record)
        return " ".join([line, *(f"{name}={_plain(value)}" for name, value in _fields(record).items())])


class AsJson(logging.Formatter):
    """One JSON object: `time` (UTC), `level`, `logger`, `message`, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def begin(form: str) -> None:
    """Let all that this process logs, its libraries' included, come out in one form (one of `FORMATS`)."""
    handler = logging.StreamHandler()
    handler.setFormatter(AsJson() if form == "json" else AsText())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    if form == "json":
        logging.captureWarnings(capture=True)
        of_transformers.disable_default_handler()
        of_transformers.enable_propagation()
        of_transformers.disable_progress_bar()


def say(entry: Entry) -> None:
    """A line for a request that was answered."""
    level = logging.DEBUG if entry.looked_at else logging.INFO
    fields = {"method": entry.method, "path": quote(entry.path), **entry.fields}
    log.log(level, "answered" if entry.error is None else "not answered", extra={"fields": fields})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was said beside the message, or at least which request it is about."""
    fields: dict[str, Any] | None = getattr(record, "fields", None)
    entry = current()
    return fields or ({} if entry is None else {"request_id": entry.id})


def _plain(value: object) -> str:
    """A value that cannot be taken for the next field or the next line."""
    text = str(value)
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
