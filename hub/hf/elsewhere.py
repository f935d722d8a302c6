"""What another hub says of repositories that are unknown here (docs/decisions/0022-read-through.md).

It is asked by GET and HEAD only, as nobody in particular, and so little at once that this hub's own work goes
on.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Any, TypeVar

import httpx2
from django.conf import settings
from django.core.cache import cache

from hub import threads
from hub.accounts.models import User
from hub.errors import Gated, HubError, NoSuchAdapter, NoSuchFile, NoSuchRevision, NotFound, OtherHub, TooBusy
from hub.outbound import (
    MOST_HOPS,
    MOST_JSON,
    SECONDS_OF_SILENCE,
    SECONDS_TO_CONNECT,
    Checked,
    Refused,
    origin_of,
)

AGENT = {"User-Agent": "fletch-read-through", "Accept-Encoding": "identity"}
QUESTIONS, STREAMS = BoundedSemaphore(4), BoundedSemaphore(8)
SECONDS_FOR_A_PLACE = 5.0
MOST_A_MINUTE = 600  # questions and files of one person
SECONDS_REMEMBERED = 60
MOST_REMEMBERED = 128 * 1024
PIECE = 256 * 1024
COMMIT = re.compile(r"[0-9a-f]{40}\Z")
MISSING = {401, 403, 404, 410}
GOOD = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Document:
    """What JSON is there, and the address of its next page."""

    content: bytes
    following: str

    @property
    def value(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class File:
    """What clients must know of a file before they fetch it."""

    commit: str
    etag: str
    size: str
    is_large: bool


class NoFileThere(NoSuchFile):
    """The commit there has no such file."""

    commit = ""


class Stream:
    """The bytes of a file as they come. They take a place until somebody closes them, read or not."""

    def __init__(self, file: File, answer: httpx2.Response, held: ExitStack) -> None:
        self.file = file
        self.status = answer.status_code
        self.headers: Mapping[str, str] = answer.headers
        self._answer = answer
        self._held = held

    def __iter__(self) -> Iterator[bytes]:
        """Raises OtherHub where it ends early: the connection ends with it, and clients ask for the rest."""
        try:
            yield from self._answer.iter_raw(PIECE)
        except httpx2.HTTPError as error:
            raise OtherHub(f"{settings.READ_THROUGH} broke off: {error}") from None

    def close(self) -> None:
        self._held.close()


def document(who: User, path: str, params: Mapping[str, str | list[str]]) -> Document:
    """Raises NoSuchAdapter, NoSuchRevision, NoSuchFile, Gated, TooBusy, OtherHub."""

    def ask() -> Document:
        with _place(QUESTIONS), _answered(who, "GET", path, params=params or None) as answers:
            content = _content(answers[-1], path)
            return Document(content, answers[-1].links.get("next", {}).get("url", ""))

    return _remembered(f"GET {path} {sorted(params.items())}", ask)


def file(who: User, path: str) -> File:
    """Raises as `document` does."""

    def ask() -> File:
        with _place(QUESTIONS), _answered(who, "HEAD", path) as answers:
            return _file(answers, path)

    return _remembered(f"HEAD {path}", ask)


def stream(who: User, path: str, wanted: str) -> Stream:
    """A file, or the range of it that is wanted. Raises as `document` does."""
    headers = {"Range": wanted} if wanted else {}
    with ExitStack() as held:
        held.enter_context(_place(STREAMS))
        answers = held.enter_context(_answered(who, "GET", path, headers=headers))
        return Stream(_file(answers, path), answers[-1], held.pop_all())


@contextmanager
def _place(places: BoundedSemaphore) -> Iterator[None]:
    with _taken(threads.LENT, 0.0), _taken(places, SECONDS_FOR_A_PLACE):
        yield


@contextmanager
def _taken(places: BoundedSemaphore, seconds: float) -> Iterator[None]:
    if not places.acquire(timeout=seconds):
        raise TooBusy(f"much is read from {settings.READ_THROUGH} at the moment; try again in a few seconds")
    try:
        yield
    finally:
        places.release()


@contextmanager
def _answered(who: User, method: str, path: str, **more: Any) -> Iterator[list[httpx2.Response]]:
    """All answers on the way to the last one, which is open and good."""
    _count(who)
    endpoint: str = settings.READ_THROUGH
    client = httpx2.Client(
        transport=Checked(endpoint),
        headers=AGENT,
        timeout=httpx2.Timeout(SECONDS_OF_SILENCE, connect=SECONDS_TO_CONNECT),
        trust_env=False,
    )
    with client:
        try:
            answers = _walk(client, client.build_request(method, endpoint + path, **more))
        except Refused as error:
            raise OtherHub(f"{endpoint} is not read for {path}: {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise OtherHub(f"{endpoint} cannot be read: {str(error) or type(error).__name__}") from error
        try:
            _check(answers[-1], path)
            yield answers
        finally:
            answers[-1].close()


def _walk(client: httpx2.Client, request: httpx2.Request) -> list[httpx2.Response]:
    """A description ends where the way leaves the other hub: signed addresses of bytes are signed for GET."""
    answers = [client.send(request, stream=True)]
    while (following := answers[-1].next_request) is not None:
        if request.method == "HEAD" and origin_of(following.url) != origin_of(request.url):
            break
        if len(answers) > MOST_HOPS:
            raise Refused(f"it leads through more than {MOST_HOPS} other addresses")
        answers[-1].close()
        answers.append(client.send(following, stream=True))
    return answers


def _check(answer: httpx2.Response, path: str) -> None:
    """Raises what the status means."""
    endpoint, status = settings.READ_THROUGH, answer.status_code
    if status in GOOD or answer.has_redirect_location:
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise OtherHub(f"{endpoint} sends {path} encoded, which was not asked for")
        return
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise TooBusy(f"{endpoint} is asked too much at the moment; try again in a few seconds")
    if status not in MISSING:
        raise OtherHub(f"{endpoint} answers {status} for {path}")
    match answer.headers.get("X-Error-Code"):
        case "EntryNotFound":
            missing = NoFileThere(f"{endpoint} has no file at {path}")
            missing.commit = answer.headers.get("X-Repo-Commit", "")
            raise missing
        case "RevisionNotFound":
            raise NoSuchRevision(f"{endpoint} has no such revision: {path}")
        case "GatedRepo":
            raise Gated(f"{path} is gated at {endpoint}, and this hub asks there as nobody; fetch it there")
        case _:
            raise NoSuchAdapter(f"neither this hub has it, nor is it public at {endpoint}: {path}")


def _content(answer: httpx2.Response, path: str) -> bytes:
    """A whole document of a bounded size. Raises OtherHub."""
    content = bytearray()
    last_moment = time.monotonic() + SECONDS_OF_SILENCE
    try:
        for piece in answer.iter_raw():
            content += piece
            if len(content) > MOST_JSON or time.monotonic() > last_moment:
                raise OtherHub(f"{settings.READ_THROUGH} says too much, or too slowly, of {path}")
        json.loads(content)
    except (httpx2.HTTPError, ValueError, RecursionError) as error:
        raise OtherHub(f"{settings.READ_THROUGH} says no JSON at {path}: {error}") from error
    return bytes(content)


def _file(answers: list[httpx2.Response], path: str) -> File:
    """Said by the first answer that names the commit, and of large files in words of their own."""
    commit, linked = _first(answers, "X-Repo-Commit"), _first(answers, "X-Linked-Etag")
    etag = linked or _first(answers, "ETag")
    if not COMMIT.match(commit) or not etag:
        raise OtherHub(
            f"{settings.READ_THROUGH} says neither commit nor ETag of {path}; it is no hub's answer"
        )
    size = _first(answers, "X-Linked-Size") or answers[-1].headers.get("Content-Length", "")
    return File(commit, etag, size if size.isdecimal() else "", is_large=bool(linked))


def _first(answers: list[httpx2.Response], name: str) -> str:
    return next((answer.headers[name] for answer in answers if name in answer.headers), "")


def _remembered(question: str, ask: Callable[[], Answer]) -> Answer:
    """For a minute, also that something is missing."""
    digest = hashlib.sha256(f"{settings.READ_THROUGH} {question}".encode()).hexdigest()
    key = f"read-through:{digest}"
    found: Answer | HubError | None = cache.get(key)
    if found is None:
        try:
            found = ask()
        except (NotFound, Gated) as error:
            found = error
        if not isinstance(found, Document) or len(found.content) <= MOST_REMEMBERED:
            cache.set(key, found, SECONDS_REMEMBERED)
    if isinstance(found, HubError):
        raise found
    return found


def _count(who: User) -> None:
    """Raises TooBusy."""
    minute, second = divmod(int(time.time()), 60)
    key = f"read-through:{who.pk}:{minute}"
    if not cache.add(key, 1, 120) and cache.incr(key) > MOST_A_MINUTE:
        busy = TooBusy(f"you read more than {MOST_A_MINUTE} times a minute through this hub; wait a minute")
        busy.seconds = 60 - second
        raise busy
