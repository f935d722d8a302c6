"""A hub as the commands speak to it: its JSON API, its downloads, and its refusals said in one way."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from fletch.account import Account
from fletch.exits import CommandError, Exit

API = "/api/v1"
TIMEOUT = httpx.Timeout(60.0, connect=10.0, read=300.0)  # a hub keeps bytes before it answers
PATIENT = 5  # tries of a command that is at work for long
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
PLAIN = {"Accept-Encoding": "identity"}  # the bytes that the digest is of
AGAIN = {429, 502, 503, 504}
ENDS = {401: Exit.NOT_ALLOWED, 403: Exit.NOT_ALLOWED, 404: Exit.NOT_FOUND}
SERVER_ERRORS = 500
SAID_FOR_GOOD = {501, 507}  # what a hub does not offer; that it is full


class Unreachable(CommandError):
    """The hub did not answer, or not as a hub does; the same request may succeed later."""

    def __init__(self, detail: str) -> None:
        super().__init__(Exit.UNREACHABLE, detail)


class OutOfStep(CommandError):
    """What was sent contradicts what is there: somebody, or an answer that was lost, was first."""

    def __init__(self, detail: str) -> None:
        super().__init__(Exit.REFUSED, detail)


class Hub:
    """One hub, spoken to as one person. Redirects are not followed: a token goes where it was sent."""

    def __init__(self, account: Account, *, tries: int = 1) -> None:
        """`tries` is how often what fails in passing is asked, counted anew for each request."""
        self.address = account.hub
        self._tries = tries
        headers = {"Authorization": f"Bearer {account.token}"} if account.token else {}
        self._client = httpx.Client(base_url=account.hub, headers=headers, timeout=TIMEOUT)
        weakref.finalize(self, self._client.close)

    @property
    def is_signed_in(self) -> bool:
        """Whether a token goes with what is asked."""
        return "Authorization" in self._client.headers

    def get(self, path: str) -> dict[str, Any]:
        """Read what is at `path` under the API."""
        return self._json("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for something that may be asked for twice without harm."""
        return self._json("POST", path, json=dict(body))

    def give(
        self, path: str, files: Mapping[str, tuple[str, bytes]], form: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Send small files {field: (name, content)} with a form; may be sent twice without harm."""
        return self._json("POST", path, files=dict(files), data=dict(form))

    def send(self, method: str, path: str, content: Iterator[bytes], *, length: int) -> dict[str, Any]:
        """Send bytes as they come, once: who sends knows where to go on."""
        headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
        return _read(self._once(method, API + path, content=content, headers=headers))

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The bytes at a `url` that the hub gave, as they come; `headers` may ask for a part of them."""
        if not url.startswith("/") or url.startswith("//"):
            raise CommandError(Exit.REFUSED, f"the hub names {url!r}, which is not on {self.address}")
        try:
            with self._client.stream("GET", url, headers={**PLAIN, **headers}) as response:
                if response.is_error:
                    response.read()
                    raise refusal(response)
                yield response
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _json(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Ask, and again where nobody answered or the hub was busy."""
        pause = FIRST_PAUSE
        for _ in range(self._tries - 1):
            try:
                response = self._once(method, API + path, **body)
            except Unreachable:
                time.sleep(pause)
            else:
                if response.status_code not in AGAIN:
                    return _read(response)
                time.sleep(_asked_to_wait(response, pause))
            pause = min(2 * pause, LONGEST_PAUSE)
        return _read(self._once(method, API + path, **body))

    def _once(self, method: str, url: str, **request: Any) -> httpx.Response:
        try:
            return self._client.request(method, url, **request)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        reason = str(error) or type(error).__name__
        return Unreachable(
            f"{self.address} does not answer ({reason}); is the address right, and the hub up?"
        )


def _read(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise refusal(response)
    try:
        found = response.json()
    except ValueError as error:
        raise _no_hub(response) from error
    return found if isinstance(found, dict) else {"items": found}


def refusal(response: httpx.Response) -> CommandError:
    """What a hub's refusal means here, in its own words."""
    try:
        problem = response.json()
        detail, findings = str(problem["detail"]), list(problem.get("findings", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _no_hub(response)
    status = response.status_code
    if status >= SERVER_ERRORS and status not in SAID_FOR_GOOD:
        return Unreachable(detail)
    if status == httpx.codes.CONFLICT:
        return OutOfStep(detail)
    if status == httpx.codes.UNAUTHORIZED:
        detail += "; sign in with `fletch login`, or set FLETCH_TOKEN"
    return CommandError(ENDS.get(status, Exit.REFUSED), detail, findings)


def _no_hub(response: httpx.Response) -> Unreachable:
    kind = response.headers.get("Content-Type", "nothing")
    return Unreachable(
        f"{response.url}: found {kind} with status {response.status_code}, expected a Fletch hub's JSON; "
        "is this the hub's own address?"
    )


def _asked_to_wait(response: httpx.Response, otherwise: float) -> float:
    said = response.headers.get("Retry-After", "")
    return min(float(said), LONGEST_PAUSE) if said.isdigit() else otherwise
