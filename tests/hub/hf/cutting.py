"""A line to the hub that breaks: bytes pass through it until it is cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Line:
    """What went through, and how much more may: when `up` or `down` bytes are used up, that connection breaks.

    With `stays_cut` every later one breaks at once, as where a cable is pulled; else only that one does.
    """

    hub: tuple[str, int]
    url: str = ""
    up: int | None = None
    down: int | None = None
    stays_cut: bool = False
    dead: bool = False
    sent: int = 0
    received: int = 0
    asked: bytearray = field(default_factory=bytearray)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def mend(self) -> None:
        """Let everything through, and count from zero."""
        self.up = self.down = None
        self.dead, self.sent, self.received = False, 0, 0
        self.asked.clear()

    def passes(self, count: int, *, upward: bool) -> bool:
        """Whether so many bytes get through."""
        with self.lock:
            if self.dead:
                return False
            if upward:
                self.sent += count
                cut = self.up is not None and self.sent > self.up
            else:
                self.received += count
                cut = self.down is not None and self.received > self.down
            if cut:
                self.up = self.down = None
                self.dead = self.stays_cut
            return not cut


@contextmanager
def line_to(url: str) -> Iterator[Line]:
    """A line on loopback that ends at the hub of this address."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    with socket.create_server(("127.0.0.1", 0)) as door:
        line = Line((address.hostname, address.port), f"http://127.0.0.1:{door.getsockname()[1]}")
        threading.Thread(target=_let_in, args=(door, line), daemon=True).start()
        yield line


def _let_in(door: socket.socket, line: Line) -> None:
    with suppress(OSError):
        while True:
            client, _ = door.accept()
            try:
                hub = socket.create_connection(line.hub)
            except OSError:
                client.close()
                continue
            for source, target, upward in ((client, hub, True), (hub, client, False)):
                threading.Thread(target=_carry, args=(source, target, line, upward), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket, line: Line, upward: bool) -> None:  # noqa: FBT001
    with suppress(OSError):
        while (piece := source.recv(1 << 14)) and line.passes(len(piece), upward=upward):
            if upward:
                line.asked.extend(piece[:2000])
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
