"""Preparing a request's works, on threads beside the event loop: prompts, routes, and experts in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from routing.engine import EngineFull
from routing.work import Work
from workers.serving.metrics import Metrics
from workers.serving.options import Limits
from workers.serving.targets import Target

Kind = TypeVar("Kind", bound=Work)


class Preparing:
    """Where works are made before the engine takes them."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._most = limits.running + limits.waiting
        self._metrics = metrics
        # Where experts are read when they are wanted, a request may wait for room: on a thread of these, so
        # that those of the others are not taken. As many as the engine takes answers, and no more.
        self._waiters = ThreadPoolExecutor(max(1, self._most), "experts")
        self._waiting = 0

    def end(self) -> None:
        """Begin nothing any more."""
        self._waiters.shutdown(wait=False, cancel_futures=True)

    async def made(self, target: Target, make: Callable[[], list[Kind]]) -> list[Kind]:
        """A request's works, with its experts in memory; EngineFull if too many are being prepared."""
        if target.version is None or target.version.resident is None:
            return await run_in_threadpool(make)
        if self._waiting >= self._most:
            raise EngineFull(f"{self._waiting} requests wait for their experts")
        self._waiting += 1
        try:
            works = await asyncio.get_running_loop().run_in_executor(self._waiters, make)
        finally:
            self._waiting -= 1
        ways = {id(way): way for one in works if (way := one.route) is not None}
        narrowed = sum(way.narrowed is not None for way in ways.values())
        self._metrics.narrowed.labels(target.library).inc(narrowed)
        return works
