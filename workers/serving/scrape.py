"""What is not counted as it happens, but looked up when somebody asks for the metrics."""

from __future__ import annotations

import math
from collections import Counter

from prometheus_client import Gauge

from routing.engine import Engine
from workers.serving.libraries import Libraries
from workers.serving.metrics import Metrics
from workers.serving.preparing import Preparing


def look_up(metrics: Metrics, engine: Engine, preparing: Preparing, libraries: Libraries) -> None:
    """Set the gauges of the queue, of libraries and of memory to what they are now."""
    metrics.preparing.set(preparing.answers)
    metrics.running.set(engine.running)
    metrics.waiting.set(engine.waiting)
    metrics.unread.set(engine.unread)
    models = {id(library.model): library.model for library in libraries.served.values()}
    kept: Counter[str] = Counter()
    graphs: Counter[str] = Counter()
    for model in models.values():
        if model is not None and model.prefixes is not None:
            kept[model.base.spec.name] += model.prefixes.size
        if model is not None:
            graphs[model.base.spec.name] += model.graphs.size
    _set(metrics.prefix_bytes, kept)
    _set(metrics.graph_bytes, graphs)
    metrics.base_layers.clear()
    for model in models.values():
        if model is not None:
            for layout, layers in model.layouts.items():
                metrics.base_layers.labels(model.base.spec.name, layout).set(layers)
    _set(metrics.kv_bytes, {**dict.fromkeys(kept, 0), **engine.memory_bytes()})
    limit = libraries.memory.limit
    metrics.kv_limit.set(math.inf if limit is None else limit)
    live = {name: one.live for name, one in libraries.served.items() if one.live is not None}
    _set(metrics.version, {name: version.number for name, version in live.items()})
    _set(metrics.experts, {name: len(version.pack.experts) for name, version in live.items()})
    _set(metrics.degraded, {name: int(one.trouble is not None) for name, one in libraries.served.items()})
    _set(metrics.vector_bytes, {name: one.vector_bytes for name, one in libraries.served.items()})
    _set(metrics.vector_parts, {name: version.pack.parts for name, version in live.items()})
    held = (
        {}
        if libraries.shelf is None
        else {name: libraries.shelf.near.held(name) for name in libraries.served}
    )
    _set(metrics.resident_experts, {name: experts for name, (experts, _) in held.items()})
    _set(metrics.resident_bytes, {name: size for name, (_, size) in held.items()})


def _set(gauge: Gauge, by_name: dict[str, int]) -> None:
    """A base, or library, that is served no more is not in the answer."""
    gauge.clear()
    for name, size in by_name.items():
        gauge.labels(name).set(size)
