"""A serving process by its address: what it serves, and one answer at a time."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

import httpx

from fletch.passes import HEADER, HubPass
from routing.errors import RoutingError

Body = dict[str, Any]
PATIENCE = 600.0  # seconds for one answer
TRIES = 8  # where a server is full, or not ready
BUSY = frozenset({429, 503})


class BadServer(RoutingError):
    """The server cannot be asked this: what was asked, and what it said."""


class Server:
    """One model of a server. `routing` are the fields of its API; None for the plain base, which has none.

    Where the server wants a pass, `hub_pass` asks the hub for one, and for another when it has expired.
    """

    def __init__(
        self, url: str, model: str, routing: Mapping[str, Any] | None, hub_pass: HubPass | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self.routing = routing
        self._pass = hub_pass
        self._client = httpx.Client(base_url=self.url, timeout=PATIENCE)
        weakref.finalize(self, self._client.close)

    @cached_property
    def said(self) -> dict[str, Any]:
        """What the server says of the model: base, context, tokenizer_digest and others."""
        return dict(self._asked("GET", f"/v1/models/{quote(self.model)}")["fletch"])

    @property
    def context(self) -> int:
        """How many tokens the base reads."""
        return int(self.said["context"])

    def complete(self, body: Body, *, prior_tokens: int | None = None) -> dict[str, Any]:
        """The one choice that answers a prompt. BadServer with what the server said, if it refuses."""
        routing = {} if self.routing is None else {"routing": {**self.routing}}
        if prior_tokens is not None and self.routing is not None:
            routing["routing"]["prior_tokens"] = prior_tokens
        return dict(
            self._asked("POST", "/v1/completions", {"model": self.model, **body, **routing})["choices"][0]
        )

    def _asked(self, method: str, path: str, body: Body | None = None) -> dict[str, Any]:
        for attempt in range(TRIES):
            answer = self._answer(method, path, body)
            if answer.status_code not in BUSY or attempt == TRIES - 1:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        if answer.is_success:
            return dict(answer.json())
        raise BadServer(f"{self.url}{path} as {self.model}: {answer.status_code} {answer.text}")

    def _answer(self, method: str, path: str, body: Body | None) -> httpx.Response:
        """Asked once, or once more with a pass that was missing. CommandError as the hub refuses one."""
        headers = {} if self._pass is None else self._pass.headers()
        try:
            answer = self._client.request(method, path, json=body, headers=headers)
            if self._pass is None or answer.status_code != httpx.codes.UNAUTHORIZED:
                return answer
            self._pass.renew(headers.get(HEADER))
            return self._client.request(method, path, json=body, headers=self._pass.headers())
        except httpx.HTTPError as error:
            raise BadServer(f"{self.url}{path}: {type(error).__name__}: {error}") from error
