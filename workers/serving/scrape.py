"""What is not counted as it happens, but looked up when somebody asks for the metrics."""

from __future__ import annotations

from collections import Counter

from prometheus_client import Gauge

from routing.engine import Engine
from workers.serving.libraries import Libraries
from workers.serving.metrics import Metrics


def look_up(metrics: Metrics, engine: Engine, libraries: Libraries) -> None:
    """Set the gauges of the queue and of memory to what they are now."""
    metrics.running.set(engine.running)
    metrics.waiting.set(engine.waiting)
    models = {id(library.model): library.model for library in libraries.served.values()}
    kept: Counter[str] = Counter()
    for model in models.values():
        if model is not None and model.prefixes is not None:
            kept[model.base.spec.name] += model.prefixes.size
    _set(metrics.prefix_bytes, kept)
    _set(metrics.kv_bytes, {**dict.fromkeys(kept, 0), **engine.memory_bytes()})


def _set(gauge: Gauge, by_base: dict[str, int]) -> None:
    """A base that is served no more is not in the answer."""
    gauge.clear()
    for base, size in by_base.items():
        gauge.labels(base).set(size)
