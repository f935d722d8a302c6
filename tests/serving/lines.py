"""The lines that a serving process logs of requests, found by the requests' names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.serving.live import LiveServer
from workers.serving.logs import AsJson

REQUESTS = "workers.serving.requests"


@dataclass(frozen=True)
class Lines:
    """What the log says of one test's requests, as programs read it.

    A line is written after its answer has left, perhaps when the next test has begun: the name tells whose it is.
    """

    log: pytest.LogCaptureFixture
    name: str

    @property
    def headers(self) -> dict[str, str]:
        """What gives a request the name."""
        return {"X-Request-Id": self.name}

    def post(self, live: LiveServer, path: str, **body: object) -> httpx.Response:
        """A request with this test's name."""
        return httpx.post(f"{live.url}{path}", json=body, headers=self.headers, timeout=60)

    def __call__(self) -> list[dict[str, Any]]:
        told = [json.loads(AsJson().format(one)) for one in self.log.records if one.name == REQUESTS]
        return [line for line in told if line["request_id"] == self.name]
