"""Whether traces are sent, and to whom: OpenTelemetry's own variables say it.

Without them nothing is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from workers.serving.journal import Entry

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assembly:
    """An attempt to serve an index version: when it began (seconds since 1970), how long it took, its end."""

    library: str
    version: int
    at: float
    seconds: float = 0.0
    experts: int | None = None
    error: str | None = None


class Traces(Protocol):
    """Who hears of what this process did."""

    def request(self, entry: Entry) -> None:
        """A request was answered."""

    def assembled(self, assembly: Assembly) -> None:
        """An index version was assembled, or could not be."""

    def end(self) -> None:
        """Send what is left."""


class NoTraces:
    """Nobody wants to know."""

    def request(self, entry: Entry) -> None:
        """Forget it."""

    def assembled(self, assembly: Assembly) -> None:
        """Forget it."""

    def end(self) -> None:
        """There is nothing to send."""


def traces(environment: Mapping[str, str]) -> Traces:
    """What these variables ask for. Where it cannot be had the log says why, and answers go on without it."""
    endpoint = _first(environment, ENDPOINTS)
    if endpoint is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return NoTraces()
    spoken = _first(environment, PROTOCOLS)
    if spoken not in (None, SPOKEN):
        log.warning("no traces are sent: found the protocol %s for them, expected %s", spoken, SPOKEN)
        return NoTraces()
    try:
        from workers.serving.spans import Spans, exporter  # noqa: PLC0415 - an option, and slow to import
    except ModuleNotFoundError as error:
        log.warning(
            "no traces are sent to %s: %s is not installed; install requirements/telemetry.txt",
            endpoint,
            error.name,
        )
        return NoTraces()
    log.info("traces are sent to %s", endpoint)
    return Spans(exporter())


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)
