"""Sending a suite's table to the hub whose index version was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from evaluation.options import Options
from fletch.account import account
from fletch.hub import PATIENT, Hub
from routing.checkpoint import manifest_inside
from routing.errors import RoutingError
from routing.store import open_store

PLACES = {"checkpoint", "store", "tokenizer", "pretrained", "adapters"}


class BadDestination(RoutingError):
    """What is measured is not the version that the table would be kept for."""


@dataclass(frozen=True)
class Destination:
    """An index version in a hub."""

    hub: Hub
    library: str
    version: int

    @classmethod
    def named(cls, hub: str | None, library: str | None, version: int | None) -> Destination:
        """BadDestination unless all three are there, CommandError if `hub` is no address."""
        if hub is None or library is None or version is None:
            raise BadDestination("expected --send-to, --library and --version together, or none of them")
        return cls(Hub(account(hub), tries=PATIENT), library, version)

    def check(self, options: Options) -> None:
        """BadDestination, before anything is computed, if this is not how that version answers."""
        if changed := sorted(options.said):
            raise BadDestination(
                f"found {', '.join(changed)}; a table that is sent is of the version's own policy, so leave "
                f"routing out of the model's arguments"
            )
        if "store" in options.where and "version" not in options.where:
            raise BadDestination("store: expected version=NUMBER with it; the current version may change")
        found = manifest_digest(options.where)
        if found is None:
            raise BadDestination(
                f"found {', '.join(sorted(options.where))}, which says no version; expected checkpoint, or "
                f"store, library and version"
            )
        expected = self.hub.get(self._path)["manifest"]
        if found != expected:
            raise BadDestination(
                f"manifest: found {found} in the model, expected {expected}, that of version {self.version} "
                f"of {self.library} at {self.hub.address}"
            )

    def send(self, document: Mapping[str, Any], options: Options) -> str:
        """Keep the table there, and return its address. CommandError with the hub's words if it refuses."""
        opened = {**options.where, **options.harness, "dtype": str(options.dtype).removeprefix("torch.")}
        model_args = ",".join(f"{name}={_last_part(name, value)}" for name, value in opened.items())
        about = {**document["about"], "model_args": model_args}
        made = self.hub.post(f"{self._path}/evaluations", {**document, "about": about})
        return f"{self.hub.address}{made['url']}"

    @property
    def _path(self) -> str:
        return f"/libraries/{quote(self.library, safe='')}/versions/{self.version}"


def manifest_digest(where: Mapping[str, Any]) -> str | None:
    """Of the version that the arguments name; None where they name a folder of adapters."""
    if where.keys() == {"checkpoint"}:
        return manifest_inside(str(where["checkpoint"]))
    if where.keys() == {"store", "library", "version"}:
        store = open_store(str(where["store"]))
        return store.version_digest(str(where["library"]), int(where["version"]))
    return None


def _last_part(name: str, value: object) -> str:
    """A place is somebody's own business, and an address may hold a secret."""
    return PurePosixPath(urlsplit(str(value)).path).name if name in PLACES else str(value)
