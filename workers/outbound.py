"""Reading documents and files of another hub for an import, until a last moment."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from hub import public_addresses
from hub.outbound import (
    MOST_HOPS,
    MOST_JSON,
    SECONDS_OF_SILENCE,
    SECONDS_TO_CONNECT,
    Checked,
    Refused,
    Unreachable,
)
from hub.public_addresses import Resolve

AGENT = {"User-Agent": "fletch-import", "Accept-Encoding": "identity"}
MISSING = {401, 403, 404, 410}
Progress = Callable[[int], None]


class Outside:
    """Reads from one endpoint until a moment, after which everything ends."""

    def __init__(self, endpoint: str, *, seconds: float, ask: Resolve = public_addresses.resolve) -> None:
        self._endpoint = endpoint
        self._last_moment = time.monotonic() + seconds
        self._client = httpx2.Client(
            transport=Checked(endpoint, ask=ask),
            headers=AGENT,
            follow_redirects=True,
            max_redirects=MOST_HOPS,
            timeout=httpx2.Timeout(SECONDS_OF_SILENCE, connect=SECONDS_TO_CONNECT),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def json(self, path: str, params: dict[str, str] | None = None) -> Any:
        """A document of a bounded size. Raises Refused, Unreachable."""
        return self._document(path, params)[0]

    def pages(self, path: str, params: dict[str, str], *, most: int) -> Iterator[Any]:
        """The documents of a list that links to its next page, at most so many. Raises as `json`."""
        document, following = self._document(path, params)
        yield document
        for _ in range(most - 1):
            if not following:
                return
            if not following.startswith(self._endpoint + "/"):
                raise Refused(f"the next page of {path} is elsewhere: {following}")
            document, following = self._document(following.removeprefix(self._endpoint), None)
            yield document

    def _document(self, path: str, params: dict[str, str] | None) -> tuple[Any, str]:
        """What JSON is there, and where its next page is."""
        with self._answer(path, params) as answer:
            content = b"".join(self._chunks(answer, path, MOST_JSON))
            following = answer.links.get("next", {}).get("url", "")
        try:
            return json.loads(content), following
        except (ValueError, RecursionError) as error:
            raise Refused(f"{path} is not JSON ({error})") from error

    def download(self, path: str, target: Path, *, most: int, progress: Progress) -> int:
        """A file of at most `most` bytes; how many it has. Raises Refused, Unreachable."""
        size = 0
        with self._answer(path) as answer, target.open("xb") as file:
            for chunk in self._chunks(answer, path, most):
                file.write(chunk)
                size += len(chunk)
                progress(size)
        return size

    def _chunks(self, answer: httpx2.Response, path: str, most: int) -> Iterator[bytes]:
        size = 0
        for chunk in answer.iter_raw():  # as it comes: a drip may not fill a buffer for hours
            size += len(chunk)
            if size > most:
                raise Refused(f"{path} has more than {most:,} bytes")
            if time.monotonic() > self._last_moment:
                raise Refused("it takes longer than an import may take")
            yield chunk

    @contextmanager
    def _answer(self, path: str, params: dict[str, str] | None = None) -> Iterator[httpx2.Response]:
        try:
            with self._client.stream("GET", self._endpoint + path, params=params) as answer:
                if answer.status_code in MISSING:
                    raise Refused(f"{path} is not there, or not public (status {answer.status_code})")
                if answer.status_code != httpx2.codes.OK:
                    raise Unreachable(f"{self._endpoint} answers {answer.status_code} for {path}")
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise Refused(f"{path} comes encoded, which was not asked for")
                yield answer
        except httpx2.TooManyRedirects as error:
            raise Refused(f"{path} leads through more than {MOST_HOPS} other addresses") from error
        except (httpx2.HTTPError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"{self._endpoint} cannot be read: {reason}") from error
