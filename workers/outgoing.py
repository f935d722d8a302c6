"""The way out for exports: what a client that is not ours may do with somebody's token in its hands.

The client is `huggingface_hub`, which asks for whatever address an answer names. So everything that it sends
goes through here: to the endpoint that the operator named, and from there only by https to public addresses.
"""

import time
from collections.abc import Callable, Iterator

import httpx2

from hub import public_addresses
from hub.outbound import MOST_JSON, Checked, Refused, origin_of
from hub.public_addresses import Resolve

SECRETS = ("authorization", "cookie")
SECONDS_TO_CONNECT = 10.0
SECONDS_OF_SILENCE = 300.0  # the other side keeps the bytes of a large file before it answers


class Outgoing(httpx2.BaseTransport):
    """Goes where `Checked` goes. A token goes to the endpoint alone, no redirect is followed, answers have a
    bounded size, and after a moment everything ends.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        seconds: float,
        sent: Callable[[int], None],
        ask: Resolve = public_addresses.resolve,
    ) -> None:
        self._endpoint = endpoint
        self._trusted = origin_of(httpx2.URL(endpoint))
        self._last_moment = time.monotonic() + seconds
        self._sent = sent
        self._inner = Checked(endpoint, ask=ask)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._require_time()
        headers = httpx2.Headers({**request.headers, "Accept-Encoding": "identity"})
        if origin_of(request.url) != self._trusted:
            for name in SECRETS:
                headers.pop(name, None)
        answer = self._inner.handle_request(
            httpx2.Request(
                request.method,
                request.url,
                headers=headers,
                stream=_Counted(request.stream, self._count),
                extensions=request.extensions,
            )
        )
        self._check(request, answer)
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers,
            stream=_Bounded(answer.stream, self._require_time),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._inner.close()

    def _check(self, request: httpx2.Request, answer: httpx2.Response) -> None:
        refusal = ""
        if answer.has_redirect_location:
            refusal = f"{self._endpoint} sends {request.url.path} on to {answer.headers['Location']}, and an "
            refusal += "export follows nowhere; if the repository was moved, name its present place"
        elif answer.headers.get("content-encoding", "identity") != "identity":
            refusal = f"{self._endpoint} answers {request.url.path} encoded, which was not asked for"
        if refusal:
            answer.close()
            raise Refused(refusal)

    def _count(self, size: int) -> None:
        self._require_time()
        self._sent(size)

    def _require_time(self) -> None:
        if time.monotonic() > self._last_moment:
            raise Refused("it takes longer than an export may take")


class _Counted(httpx2.SyncByteStream):
    """What is sent, piece by piece."""

    def __init__(self, stream: object, count: Callable[[int], None]) -> None:
        assert isinstance(stream, httpx2.SyncByteStream)
        self._stream = stream
        self._count = count

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            yield piece
            self._count(len(piece))

    def close(self) -> None:
        self._stream.close()


class _Bounded(httpx2.SyncByteStream):
    """An answer, as far as it may go."""

    def __init__(self, stream: object, require_time: Callable[[], None]) -> None:
        assert isinstance(stream, httpx2.SyncByteStream)
        self._stream = stream
        self._require_time = require_time

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._stream:
            size += len(piece)
            if size > MOST_JSON:
                raise Refused(f"an answer has more than {MOST_JSON:,} bytes")
            self._require_time()
            yield piece

    def close(self) -> None:
        self._stream.close()


def client(transport: Outgoing) -> httpx2.Client:
    """For `huggingface_hub`: nothing of this machine's environment, and no redirect."""
    return httpx2.Client(
        transport=transport,
        follow_redirects=False,
        timeout=httpx2.Timeout(SECONDS_OF_SILENCE, connect=SECONDS_TO_CONNECT),
        trust_env=False,
    )
