"""Asking a served model, over OpenAI's protocol with Fletch's own fields: answers come as a stream."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from fletch.exits import CommandError, Exit
from fletch.hub import SERVER_ERRORS, TIMEOUT, Unreachable
from fletch.passes import HEADER as PASS_HEADER
from fletch.passes import HubPass
from fletch.private import Private

DATA = "data: "
END = "[DONE]"
ENDS = {401: Exit.NOT_ALLOWED, 403: Exit.NOT_ALLOWED, 404: Exit.NOT_FOUND}
ABOUT_PRIVATE = "private_"
ABOUT_PASSES = "pass_"
MISSING_PASS = ("pass_missing", "pass_expired", "pass_forged")
LEAST_SHARE = 0.005  # what rounds to nothing is not said
# As many connections as there are questions at once; an idle one goes before a server would close it.
CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)


@dataclass(frozen=True)
class Answer:
    """What was said, why it ended, and who spoke."""

    text: str
    finish: str | None
    provenance: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"answer": self.text, "finish_reason": self.finish, **self.provenance}

    @property
    def speakers(self) -> str:
        """Who spoke, for people."""
        version = self.provenance.get("version")
        model = self.provenance.get("library", "") + (f"@{version}" if version is not None else "")
        guests = len(self.provenance.get("private", {}).get("experts", ()))
        model += f" with {guests} private expert{'s' if guests > 1 else ''}" if guests else ""
        loud = [row for row in self.provenance.get("experts", ()) if row["share"] >= LEAST_SHARE]
        said = ", ".join(f"{row['adapter']} {row['share']:.0%}" for row in loud)
        return f"{model}: {said or 'the base alone'}"


class Expired(CommandError):
    """A list of private experts, or a pass, is missing or good no longer; the hub has a new one."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(Exit.NOT_ALLOWED, message)
        self.is_about_pass = code.startswith(ABOUT_PASSES)


class Busy(Unreachable):
    """Refused for now: after so many seconds the same question may be answered."""

    def __init__(self, message: str, code: str, seconds: float) -> None:
        super().__init__(message)
        self.code = code
        self.seconds = seconds


def _client() -> httpx.Client:
    return httpx.Client(timeout=TIMEOUT, limits=CONNECTIONS)


@dataclass(frozen=True)
class Serving:
    """A serving process. It knows nothing of the hub's tokens, so none is sent to it; lists of private
    experts are made for it, and passes, which it is sent when it asks for one.

    Several threads may ask; all do so over the same connections, which are set up once.
    """

    address: str
    private: Private | None = None
    hub_pass: HubPass | None = None
    _client: httpx.Client = field(default_factory=_client, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Connections go with whoever asked."""
        weakref.finalize(self, self._client.close)

    def complete(self, body: Mapping[str, Any], say: Callable[[str], None]) -> Answer:
        """Let it continue a text; `say` hears the answer as it comes."""
        return self._ask("/v1/completions", body, lambda choice: choice.get("text", ""), say)

    def reply(self, body: Mapping[str, Any], say: Callable[[str], None]) -> Answer:
        """Let it answer in a conversation."""
        return self._ask(
            "/v1/chat/completions", body, lambda choice: choice.get("delta", {}).get("content", ""), say
        )

    def _ask(
        self,
        path: str,
        body: Mapping[str, Any],
        text_of: Callable[[Mapping[str, Any]], str],
        say: Callable[[str], None],
    ) -> Answer:
        text: list[str] = []
        finish: str | None = None
        provenance: Mapping[str, Any] = {}
        for chunk in self.events(path, {**body, "stream": True}):
            for choice in chunk.get("choices", ()):
                text.append(text_of(choice))
                say(text[-1])
                finish = choice.get("finish_reason") or finish
            provenance = chunk.get("fletch", provenance)
        return Answer("".join(text), finish, provenance)

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a streamed answer. CommandError for a refusal, Unreachable for what breaks off."""
        renewed: set[bool] = set()
        while True:
            headers = self._headers()
            try:
                yield from self._stream(path, body, headers)
            except Expired as error:  # said before anything else is
                if error.is_about_pass in renewed or not self._renew(error, headers):
                    raise
                renewed.add(error.is_about_pass)
            else:
                return

    def version(self, library: str) -> int | None:
        """The index version that a library answers with; None where it serves no such library, or none yet.

        CommandError as it refuses, Unreachable where it does not answer.
        """
        return self._described(library, "version")

    def context(self, library: str) -> int | None:
        """How many tokens the base of a library reads; None, and errors, as of `version`."""
        return self._described(library, "context")

    def _described(self, library: str, figure: str) -> int | None:
        headers = self._headers()
        try:
            return self._figure(library, figure, headers)
        except Expired as error:
            if not self._renew(error, headers):
                raise
            return self._figure(library, figure, self._headers())

    def _figure(self, library: str, figure: str, headers: Mapping[str, str]) -> int | None:
        try:
            response = self._client.get(f"{self.address}/v1/models/{library}", headers=dict(headers))
        except httpx.TransportError as error:
            raise self._silent(error) from error
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.is_error:
            raise _refusal(response)
        try:
            return int(response.json()["fletch"][figure])
        except (ValueError, KeyError, TypeError) as error:
            raise _no_serving(response) from error

    def _headers(self) -> dict[str, str]:
        papers = [paper for paper in (self.private, self.hub_pass) if paper is not None]
        return {name: value for paper in papers for name, value in paper.headers().items()}

    def _renew(self, error: Expired, sent: Mapping[str, str]) -> bool:
        """Have the hub make what is missing; False where nobody is signed in there."""
        if not error.is_about_pass:
            if self.private is not None:
                self.private.renew()
            return self.private is not None
        if self.hub_pass is not None:
            self.hub_pass.renew(sent.get(PASS_HEADER))
        return self.hub_pass is not None

    def _stream(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        try:
            with self._client.stream(
                "POST", self.address + path, json=dict(body), headers=dict(headers)
            ) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                for line in response.iter_lines():
                    if line.startswith(DATA) and line != DATA + END:
                        event = json.loads(line.removeprefix(DATA))
                        if "error" in event:
                            raise Unreachable(str(event["error"]["message"]))
                        yield event
        except httpx.TransportError as error:
            raise self._silent(error) from error

    def _silent(self, error: httpx.TransportError) -> Unreachable:
        reason = str(error) or type(error).__name__
        return Unreachable(
            f"{self.address} does not answer ({reason}); name it by --serving or FLETCH_SERVING"
        )


def _no_serving(response: httpx.Response) -> Unreachable:
    return Unreachable(f"{response.url}: status {response.status_code} from what is no serving process")


def _refusal(response: httpx.Response) -> CommandError:
    try:
        error = response.json()["error"]
        message, code = str(error["message"]), str(error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _no_serving(response)
    if response.status_code >= SERVER_ERRORS or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        wait = response.headers.get("Retry-After", "")
        return Busy(message, code, float(wait)) if wait.isdigit() else Unreachable(message)
    if code.startswith(ABOUT_PRIVATE):
        message += "; --no-private asks without them"
    if code in MISSING_PASS:
        message += "; `fletch login` signs you in at its hub"
    if code in (*MISSING_PASS, "private_expired"):
        return Expired(message, code)
    return CommandError(ENDS.get(response.status_code, Exit.REFUSED), message)
