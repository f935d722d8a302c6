"""The hub's JSON API as the demonstration uses it: what any contributor could do with curl."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

TIMEOUT = 120.0
CHUNK = 1 << 20


class HubRefused(Exception):
    """The hub answered with an error; the message is the hub's own."""


@dataclass(frozen=True)
class HubApi:
    """One person's way into the hub."""

    address: str
    token: str

    def upload(
        self, library: str, name: str, directory: Path, *, message: str, samples: Path | None = None
    ) -> dict[str, Any]:
        """Send a PEFT folder and, if given, private sample rows; returns the release."""
        parts = [("files", (path.name, path.read_bytes())) for path in sorted(directory.iterdir())]
        if samples is not None:
            parts.append(("samples", (samples.name, samples.read_bytes())))
        path = f"/api/v1/libraries/{library}/adapters/{name}/releases"
        return self._call("POST", path, data={"message": message}, files=parts)

    def read(self, url: str) -> dict[str, Any]:
        """Anything that the hub gave a `url` for, as it is now."""
        return self._call("GET", url)

    def request_checkpoint(self, library: str, kind: str) -> dict[str, Any]:
        return self._call("POST", f"/api/v1/libraries/{library}/checkpoints", json={"kind": kind})

    def served_version(self, library: str) -> dict[str, Any] | None:
        """The index version that the library serves, None before the first."""
        number = self._call("GET", f"/api/v1/libraries/{library}")["current"]
        return None if number is None else self._call("GET", f"/api/v1/libraries/{library}/versions/{number}")

    def download(self, path: str, target: Path, *, progress: Callable[[int, int], None]) -> str:
        """Fetch a file of the hub to `target`, saying (done, total) bytes; returns its sha256."""
        digest, done = hashlib.sha256(), 0
        with httpx.stream("GET", self.address + path, headers=self._headers, timeout=TIMEOUT) as answer:
            answer.raise_for_status()
            total = int(answer.headers["Content-Length"])
            with target.open("wb") as file:
                for chunk in answer.iter_bytes(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    progress(done, total)
        return digest.hexdigest()

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def _call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = httpx.request(method, self.address + path, headers=self._headers, timeout=TIMEOUT, **body)
        if answer.is_error:
            raise HubRefused(f"{method} {path}: {answer.status_code} {answer.text[:600]}")
        return dict(answer.json())
