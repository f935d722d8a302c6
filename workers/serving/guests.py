"""Guest lists: private experts that a request brings along, believed by the hub's signature alone."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routing.digests import canonical_json, digest_of
from routing.errors import RoutingError
from routing.index import ExpertEntry
from workers.serving.errors import ApiError
from workers.serving.signed import signed_part

HEADER = "X-Fletch-Private"
FORMAT = 1
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Expert(BaseModel):
    """As an index manifest names a member."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    adapter: str
    release: str
    vectors: Digest
    factors: Digest
    vectors_size: int
    factors_size: int
    profile: Digest | None = None
    profile_size: int = 0


class _Statement(BaseModel):
    """What a hub signs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    library: str
    expires: int
    experts: Annotated[list[_Expert], Field(min_length=1)]


@dataclass(frozen=True)
class Guests:
    """Experts that join an index version for those who bring their list, sorted by name."""

    entries: tuple[ExpertEntry, ...]

    @property
    def names(self) -> list[str]:
        """Their adapters."""
        return [entry.adapter for entry in self.entries]

    @cached_property
    def digest(self) -> str:
        """The sha256 of the entries: equal guests have equal ones, whoever brought them."""
        return digest_of(canonical_json([asdict(entry) for entry in self.entries]))


def believed(token: str, *, library: str, key: bytes | None) -> Guests:
    """The guests of a list that this library's hub has signed and that is still good; ApiError if not."""
    if key is None:
        raise not_taken(f"the hub of {library} has not said in the index store by which key it signs them")
    content = signed_part(token, key)
    if content is None:
        raise _refused(401, "private_forged", "the list does not bear the signature of this library's hub")
    statement = _read(content)
    if statement.library != library:
        raise _refused(
            403, "private_other_library", f"the list is for library {statement.library}, not for {library}"
        )
    if statement.expires <= time.time():
        raise _refused(401, "private_expired", "the list has expired; ask the hub for a new one")
    entries = [ExpertEntry(**expert.model_dump()) for expert in statement.experts]
    return Guests(tuple(sorted(entries, key=lambda entry: entry.adapter)))


def not_taken(why: str) -> ApiError:
    """No list at all is taken here."""
    return _refused(400, "private_not_taken", f"private experts are not taken: {why}")


def unusable(error: RoutingError) -> ApiError:
    """The list is good, but an expert in it is not in the index store any more, or does not fit the base."""
    return _refused(400, "private_unavailable", f"the private experts cannot be added: {error}")


def _read(content: bytes) -> _Statement:
    """What this library's own hub said, if it said it as we know it."""
    try:
        found = _Statement.model_validate_json(content)
    except ValidationError as error:
        raise _refused(400, "private_unreadable", f"the list cannot be read: {error}") from error
    if found.format != FORMAT:
        raise _refused(400, "private_unreadable", f"the list has format {found.format}, expected {FORMAT}")
    return found


def _refused(status: int, code: str, message: str) -> ApiError:
    return ApiError(status, f"{HEADER}: {message}", code=code, param=HEADER)
