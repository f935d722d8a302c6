"""Reports to the hub: once a minute, which experts were chosen how often since the last one.

They are signed with a key that hub and serving process share, for the hub believes nobody else
(docs/decisions/0034-reported-uses.md). Each has a number: one whose answer was lost is sent again as it was,
and the hub adds it up once.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import secrets
import threading
import urllib.error
import urllib.request
from collections import deque
from dataclasses import dataclass, field

from workers.serving.book import Book, as_bytes

HEADER = "X-Fletch-Signature"
PATH = "/api/v1/uses"
TIMEOUT = 20.0
MOST_WAITING = 60  # reports that could not be sent yet; of an hour in which one library answers
# What the hub says of a report that it will never take. Anything else may be otherwise in a minute.
NEVER = {400, 404, 409, 413, 422}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hub:
    """Where reports go, and the key that they are signed with."""

    url: str
    key: str = field(repr=False)
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(
                f"found {self.url!r}, expected the hub's address, such as https://hub.example.org"
            )
        if not self.key:
            raise ValueError("reports are signed: FLETCH_REPORT_KEY, or FLETCH_REPORT_KEY_FILE, is missing")


class Reporter:
    """Sends what is in the book, on a thread of its own. What cannot be sent in an hour is given up."""

    def __init__(self, hub: Hub, book: Book) -> None:
        self._hub = hub
        self._book = book
        self._instance = secrets.token_hex(16)
        self._number = 0
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Report until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Report once more, and end."""
        self._stop.set()
        self._thread.join()

    def report(self) -> None:
        """Send what was counted and what is left from earlier, as far as the hub takes it now."""
        for document in self._book.taken():
            self._number += 1
            self._waiting.append(as_bytes({**document, "instance": self._instance, "number": self._number}))
        while self._waiting and self._send(self._waiting[0]):
            self._waiting.popleft()

    def _run(self) -> None:
        while not self._stop.wait(self._hub.seconds):
            self._try()
        self._try()

    def _try(self) -> None:
        """Whatever becomes of one report, there is a next one: the book keeps what was not taken from it."""
        try:
            self.report()
        except Exception:
            log.exception("a report of uses failed; there will be another one")

    def _send(self, body: bytes) -> bool:
        """Whether the hub has settled what to do with it."""
        signature = hmac.new(self._hub.key.encode(), body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(  # noqa: S310 - http or https, see `Hub`
            self._hub.url.rstrip("/") + PATH,
            data=body,
            headers={"Content-Type": "application/json", HEADER: f"sha256={signature}"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
                self._say("")
                return True
        except urllib.error.HTTPError as refusal:
            self._say(f"the hub refused a report of uses with status {refusal.code}")
            return refusal.code in NEVER
        except OSError as error:
            self._say(f"the hub cannot be reached to report uses: {error}")
            return False
        except http.client.HTTPException as error:
            self._say(f"a report of uses was answered by what is no HTTP, perhaps of a proxy: {error!r}")
            return False

    def _say(self, trouble: str) -> None:
        """Once, and not every minute."""
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble
