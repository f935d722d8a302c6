"""Libraries that are followed by hand, look by look, without a server around them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from routing.base import inspect_base
from routing.engine import Engine
from routing.layouts import Wanted
from routing.spec import BaseRef
from routing.store import LibraryRef
from tests.routing.published import PublishedLibrary
from workers.serving.libraries import Libraries
from workers.serving.library import Library
from workers.serving.metrics import Metrics
from workers.serving.options import Limits, Options
from workers.serving.telemetry import Assembly


class Follower:
    """What a serving process makes of a store, at every `look`."""

    def __init__(
        self,
        published: PublishedLibrary,
        limits: Limits | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        retry_seconds: float = 0.0,
        tell: Callable[[Assembly], None] = lambda _assembly: None,
    ) -> None:
        self.published = published
        self.metrics = Metrics()
        self.engine = Engine()
        options = Options(
            store=published.url,
            limits=limits or Limits(),
            dtype=dtype,
            retry_seconds=retry_seconds,
            weights=Wanted("stored"),
        )
        self.libraries = Libraries(published.store, options, self.metrics, tell, self.engine)

    def look(self) -> Library:
        """The library after one more look at the store."""
        self.libraries.look()
        return self.libraries[self.published.name]

    @property
    def served(self) -> int | None:
        """The number of the live version."""
        live = self.libraries[self.published.name].live
        return None if live is None else live.number

    def counted(self, name: str) -> float:
        """A figure of the library."""
        return self.metrics.registry.get_sample_value(name, {"library": self.published.name}) or 0.0


def another_base(published: PublishedLibrary, folder: Path) -> LibraryRef:
    """A base of the same shapes whose configuration differs: another one, on which nothing is published."""
    shutil.copytree(published.base.source, folder)
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    spec = inspect_base(BaseRef(str(folder)), name="another")
    return LibraryRef(BaseRef(str(folder)), published.store.put_base(spec))
