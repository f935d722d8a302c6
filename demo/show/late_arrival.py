"""One more adapter while the server is answering: the very next answers use it, and nobody's answer breaks."""

import threading
import time
from dataclasses import dataclass, field
from typing import Self

import httpx

from demo.show.contributing import LOOK_EVERY, PATIENCE, Stuck, send
from demo.show.hub_api import HubApi
from demo.show.serving_api import Answer, Serving, ServingRefused
from demo.tasks import Row, Task


@dataclass
class Crowd:
    """Somebody who keeps asking, from a thread of their own."""

    serving: Serving
    row: Row
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._keep_asking, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _keep_asking(self) -> None:
        while not self._enough.is_set():
            try:
                self.versions.add(self.serving.ask(self.row.prompt).version)
                self.answers += 1
            except (httpx.HTTPError, ServingRefused) as error:
                self.failures.append(str(error))


@dataclass(frozen=True)
class Arrival:
    """What the late adapter changed; `seconds` from the finished upload to the first answer with it, None if it was there before."""

    before: Answer
    after: Answer
    seconds: float | None


def arrive(task: Task, hub: HubApi, serving: Serving, *, row: Row) -> Arrival:
    """Upload `task`'s adapter and ask until an answer comes from a version that holds it; raises Stuck."""
    before = serving.ask(row.prompt)
    journey = send(task, hub, library=serving.library)
    began = time.monotonic()
    if journey.status == "ready":  # the demonstration ran before
        since = int(hub.read(journey.release["url"])["versions"][0]["since"])
        earlier = f"{serving.library}@{since - 1}" if since > 1 else f"{serving.library}/base"
        return Arrival(serving.ask(row.prompt, model=earlier), before, None)
    while time.monotonic() - began < PATIENCE:
        journey.look(hub)
        after = serving.ask(row.prompt)
        if after.version > before.version:
            return Arrival(before, after, time.monotonic() - began)
        if journey.status == "rejected":
            break
        time.sleep(LOOK_EVERY)
    raise Stuck(
        f"{task.adapter} is {journey.status}, and {serving.library} still serves version {before.version}"
    )
