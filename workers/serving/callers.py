"""Who asks: anybody, known by their address, or only who brings a pass of the hub.

A pass is a statement that the hub signs, as it signs guest lists, for whoever is signed in there: who they
are, which libraries they may ask, and how much. It is good for ten minutes and travels in `X-Fletch-Pass`,
or where OpenAI's clients put their key (docs/decisions/0029-caller-passes.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.serving.errors import ApiError
from workers.serving.signed import signed_part

HEADER = "X-Fletch-Pass"
KINDS = ("open", "passes")
FORMAT = 1
BEARER = "bearer "
LONGEST = 8192  # characters, as much as proxies let through in a header
Identity = tuple[bytes | None, str, str]  # a hub's key, a name or an address, the digest of a user
Keys = Callable[[], Mapping[str, bytes]]


@dataclass(frozen=True)
class Caller:
    """Who asks, by name, and what they may. None: no such limit, or any library whose hub has this key."""

    name: str
    libraries: frozenset[str] | None = None
    answers: int | None = None
    tokens_per_minute: int | None = None
    key: bytes | None = None

    def identity(self, user: str | None) -> Identity:
        """Who this is beside all others: by hub and name, or without a pass by address and the field `user`.

        Places and limits are counted by it, and what was said under `prompt_cache_key` is kept apart. It is
        kept for longer than the request, so of `user`, which may be megabytes long, it has the digest.
        """
        if self.key is not None or not user:
            return (self.key, self.name, "")
        return (None, self.name, blake2b(user.encode(errors="surrogatepass"), digest_size=16).hexdigest())


class Door(Protocol):
    """How callers are told apart."""

    def caller(self, headers: Mapping[str, str], address: str) -> Caller:
        """Who brings these headers; ApiError if they are not let in."""

    def admits(self, caller: Caller, library: str) -> bool:
        """Whether this caller may ask this library, and know of it."""

    def require(self, caller: Caller, library: str) -> None:
        """ApiError unless this caller may ask this library."""


class OpenDoor:
    """Lets everybody in: for a loopback address, or behind a proxy that knows whom it lets through."""

    def caller(self, headers: Mapping[str, str], address: str) -> Caller:  # noqa: ARG002 - as the other door
        """Whoever has this address."""
        return Caller(address)

    def admits(self, caller: Caller, library: str) -> bool:  # noqa: ARG002 - as the other door
        """They may."""
        return True

    def require(self, caller: Caller, library: str) -> None:
        """They may."""


class _Statement(BaseModel):
    """What a hub signs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    kind: Literal["pass"]
    caller: Annotated[str, Field(min_length=1, max_length=200)]
    libraries: list[str] | None
    expires: int
    answers: Annotated[int, Field(ge=1)] | None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None


class PassDoor:
    """Lets in who brings a pass. `keys` says by library whose signature is believed."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def caller(self, headers: Mapping[str, str], address: str) -> Caller:  # noqa: ARG002 - a pass says who it is
        """Who the pass says."""
        token = _brought(headers)
        if token is None:
            raise _refused(401, "pass_missing", "bring a pass, in it or as the API key; ask the hub for one")
        keys = self._keys()
        if not keys:
            raise _refused(
                503, "pass_unknown", "no hub has said in the index store by which key it signs them"
            )
        said, key = _believed(token, keys.values())
        if said.expires <= time.time():
            raise _refused(401, "pass_expired", "the pass has expired; ask the hub for a new one")
        libraries = None if said.libraries is None else frozenset(said.libraries)
        return Caller(said.caller, libraries, said.answers, said.tokens_per_minute, key)

    def admits(self, caller: Caller, library: str) -> bool:
        """Whether their pass names it, and is of its hub."""
        named = caller.libraries is None or library in caller.libraries
        return named and self._keys().get(library) == caller.key

    def require(self, caller: Caller, library: str) -> None:
        """Their pass names it, and is of its hub."""
        if not self.admits(caller, library):
            raise _refused(403, "pass_other_library", f"the pass is not good for library {library}")


def _brought(headers: Mapping[str, str]) -> str | None:
    """The pass of a request, if it brings something that may be one."""
    token = headers.get(HEADER)
    if token is None:
        given = headers.get("Authorization", "")
        token = given[len(BEARER) :].strip() if given.lower().startswith(BEARER) else ""
    return token or None


def _believed(token: str, keys: Iterable[bytes]) -> tuple[_Statement, bytes]:
    """What a pass says, and whose it is."""
    signed = ((signed_part(token, key), key) for key in sorted(set(keys)) if len(token) <= LONGEST)
    content, key = next(((content, key) for content, key in signed if content is not None), (None, b""))
    if content is None:
        raise _refused(
            401, "pass_forged", "found no pass with the signature of this hub (its API tokens are none)"
        )
    try:
        found = _Statement.model_validate_json(content)
    except ValidationError as error:
        raise _refused(401, "pass_unreadable", f"the pass cannot be read: {error}") from error
    if found.format != FORMAT:
        raise _refused(401, "pass_unreadable", f"the pass has format {found.format}, expected {FORMAT}")
    return found, key


def _refused(status: int, code: str, message: str) -> ApiError:
    return ApiError(status, f"{HEADER}: {message}", code=code, param=HEADER)
