"""`python -m workers.pushing`: one push with `huggingface_hub`, in a process of its own.

The order comes on standard input, token included; what happens is said on standard output, a JSON object a
line. A process of its own, because the client's connections, its way of sending and its idea of where the hub
is belong to a whole process, and because whatever it does ends when the process is killed.
"""

import hashlib
import json
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import ModelInfo

from hub.outbound import Refused
from workers.outgoing import Outgoing, client

# What this process needs in its environment: Xet would send by another way than ours.
SETTINGS = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_OFFLINE": "0",
}
LATER = {408, 429}
SERVER_ERRORS = 500
MEANINGS = {
    401: "does not accept the token",
    403: "does not let this token write there",
    404: "has no such place to write to",
}
OID = frozenset("0123456789abcdef")
LONGEST_REASON = 1500


@dataclass(frozen=True)
class Sent:
    """A file on this machine and what its bytes must be."""

    place: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Order:
    """What to push where. `closed` is what the repository must be at least ("", gated, private); a `gone`
    file is removed if it is there.
    """

    endpoint: str
    repo: str
    closed: str
    files: Mapping[str, Sent]
    gone: tuple[str, ...]
    summary: str
    description: str
    seconds: float
    token: str = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        files = {path: Sent(**file) for path, file in fields.pop("files").items()}
        return cls(files=files, gone=tuple(fields.pop("gone")), **fields)


def main() -> None:
    order = Order.from_json(sys.stdin.read())
    try:
        _say(commit=push(order))
    except Exception as error:  # noqa: BLE001  whatever the client raises, it is told in one line
        kind, reason = meaning_of(error, order)
        _say(**{kind: " ".join(reason.replace(order.token, "<token>").split())[:LONGEST_REASON]})


def push(order: Order) -> str:
    """The commit that holds everything. Raises Refused, and whatever the client does."""
    if not constants.HF_HUB_DISABLE_XET:
        raise RuntimeError("the client would send by Xet, around everything that bounds it")
    transport = Outgoing(order.endpoint, seconds=order.seconds, sent=_Teller(order.size).add)
    set_client_factory(partial(client, transport))
    api = HfApi(endpoint=order.endpoint, token=order.token, library_name="fletch")
    additions = [_addition(path, file) for path, file in order.files.items()]
    api.create_repo(order.repo, private=bool(order.closed) or None, exist_ok=True)
    there = api.model_info(order.repo)
    _check_closed(order, there)
    known = {file.rfilename for file in there.siblings or ()}
    made = api.create_commit(
        order.repo,
        [*additions, *(CommitOperationDelete(path) for path in order.gone if path in known)],
        commit_message=order.summary,
        commit_description=order.description,
        num_threads=1,
    )
    _check(order, made.oid, api.model_info(order.repo, revision=made.oid, files_metadata=True))
    return made.oid


def _check_closed(order: Order, there: ModelInfo) -> None:
    """Raises Refused where a repository that was there before is more open than what would come into it."""
    if order.closed and not (there.private or (there.gated and order.closed == "gated")):
        raise Refused(
            f"{order.repo} at {order.endpoint} is open, and what would be pushed is {order.closed}; make "
            "that repository private, or name another"
        )


def _addition(path: str, file: Sent) -> CommitOperationAdd:
    """Read once before anything is sent: what is stored must be what was received."""
    with Path(file.place).open("rb") as content:
        found = hashlib.file_digest(content, "sha256")
    if found.hexdigest() != file.sha256:
        raise RuntimeError(f"blob {file.sha256} has the bytes of {found.hexdigest()}")
    addition = CommitOperationAdd(path, file.place)
    addition.upload_info.sha256 = found.digest()
    return addition


def _check(order: Order, commit: str, there: ModelInfo) -> None:
    """Raises Refused unless the other side lists what it was sent."""
    if len(commit) != 40 or not OID.issuperset(commit):  # noqa: PLR2004
        raise Refused(f"{order.endpoint} calls the commit {commit[:100]!r}; expected 40 hex digits")
    listed = {file.rfilename: file for file in there.siblings or ()}
    lacking = sorted(order.files.keys() - listed.keys())
    if lacking:
        raise Refused(f"{order.endpoint} took the commit {commit} without {', '.join(lacking[:5])}")
    for path, file in order.files.items():
        large = listed[path].lfs
        if large is not None and large.sha256 != file.sha256:
            raise Refused(f"{order.endpoint} has another {path} in the commit {commit} than it was sent")


def meaning_of(error: BaseException, order: Order) -> tuple[str, str]:
    """Theirs to mend (`refused`), likely to pass (`unreachable`), or ours (`failed`); and the reason."""
    known = (meaning for one in _chain(error) if (meaning := _meaning(one, order)))
    return next(known, ("failed", f"{type(error).__name__}: {error}"))


def _meaning(error: BaseException, order: Order) -> tuple[str, str] | None:
    match error:
        case HfHubHTTPError():
            return _answered(error, order)
        case Refused():
            return "refused", str(error)
        case MemoryError():
            return "refused", f"{order.endpoint} asks for a large file in one piece"
        case httpx2.HTTPError() | socket.gaierror():
            said = str(error) or type(error).__name__
            return "unreachable", f"{order.endpoint} cannot be reached: {said}"
        case ValueError() | KeyError():
            return "refused", f"{order.endpoint} does not take it: {error}"
    return None


def _answered(error: HfHubHTTPError, order: Order) -> tuple[str, str]:
    status = error.response.status_code
    if status in LATER or status >= SERVER_ERRORS:
        return "unreachable", f"{order.endpoint} answers {status}"
    meaning = MEANINGS.get(status, "refuses this")
    said = f": {error.server_message}" if error.server_message else ""
    return "refused", f"{order.endpoint} {meaning} ({order.repo}, status {status}){said}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class _Teller:
    """Says how much was sent; what is sent again after a failure counts again, up to everything."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def add(self, size: int) -> None:
        before = self._done
        self._done = min(before + size, self._total)
        if self._done != before:
            _say(done=self._done, total=self._total)


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201  standard output is how this process speaks


if __name__ == "__main__":
    main()
