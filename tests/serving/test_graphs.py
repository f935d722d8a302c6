"""Graphs in a serving process: the live version has some on a GPU, as its policy and the operator allow."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import pytest
import torch

from routing.base import Base, load_base
from routing.capturing import decoder_for
from routing.composed import ComposedModel
from routing.engine import Engine
from routing.generation import Request
from routing.index import RoutingPolicy
from routing.laying_out import Laid
from routing.layouts import Wanted
from routing.routes import routing_of
from routing.spec import BaseRef, BaseSpec
from routing.store import open_store
from tests.routing.as_a_gpu import as_a_gpu
from tests.routing.decoding.test_graphs import GREEDY
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.routing.recorded import TensorRecorder
from tests.routing.test_together import run_together
from workers.serving import base_loading, versions
from workers.serving.__main__ import arguments
from workers.serving.libraries import Libraries
from workers.serving.metrics import Metrics
from workers.serving.options import Limits, Options
from workers.serving.preparing import Preparing
from workers.serving.scrape import look_up


def as_stored(ref: BaseRef, spec: BaseSpec, *, dtype: torch.dtype, wanted: Wanted) -> tuple[Base, list[Laid]]:
    return load_base(ref, spec=spec, dtype=dtype), []


@pytest.fixture(autouse=True)
def on_a_gpu() -> Iterator[None]:
    with (
        as_a_gpu(),
        patch.object(base_loading, "load_laid", as_stored),  # loops of a CPU are recorded by nobody
        patch.object(versions, "decoder_for", partial(decoder_for, recorder=TensorRecorder)),
    ):
        yield


class Serving:
    """The libraries of a store and their metrics, without the network."""

    def __init__(self, store: str, *, graphs: bool = True) -> None:
        options = Options(store, limits=Limits(running=1), graphs=graphs)
        self.metrics = Metrics()
        self.libraries = Libraries(open_store(store), options, self.metrics, lambda _told: None, Engine())
        self.libraries.look()

    def said(self, tokens: tuple[int, ...]) -> list[int]:
        live = self.libraries["tales"].live
        assert live is not None
        way = live.queries.route(routing_of(live.policy), tokens)
        _, [told] = run_together(live.model, [Request(tokens, 3, way, GREEDY)])
        return told.tokens

    @property
    def replays(self) -> float | None:
        return self.metrics.registry.get_sample_value("fletch_replays_total", {"library": "tales"})

    @property
    def graph_bytes(self) -> float | None:
        engine = Engine()
        look_up(self.metrics, engine, Preparing(engine, Limits(), self.metrics), self.libraries)
        model = self.libraries["tales"].model
        assert model is not None
        return self.metrics.registry.get_sample_value("fletch_graph_bytes", {"base": model.base.spec.name})


def test_the_live_version_is_decoded_by_its_own_graphs(
    published: PublishedLibrary, composed: ComposedModel, caplog: pytest.LogCaptureFixture
) -> None:
    published.publish(1, ["bob/wide"])
    serving = Serving(published.url)
    size = serving.graph_bytes
    published.publish(2)
    serving.libraries.look()
    gc.collect()

    said = serving.said(composed.tokens(TEXT))

    assert said == [token.token for token in composed.generate(TEXT, max_tokens=3).tokens]
    assert serving.replays == 2  # of three tokens; the first came of the pass that read the prompt
    assert "version 2 is decoded by 1 CUDA graphs for up to 1 answers" in caplog.text
    assert serving.graph_bytes == size  # those of version 1 went with it
    assert size


def test_a_version_whose_prompts_choose_is_decoded_by_graphs_too(
    published: PublishedLibrary, composed: ComposedModel, caplog: pytest.LogCaptureFixture
) -> None:
    policy = RoutingPolicy("uniform", top_k=1, general=("bob/wide",))  # the four others, equally
    manifest = replace(published.manifest(), policy=policy)
    published.store.write_version("tales", 1, manifest)
    published.store.set_current("tales", 1)
    serving = Serving(published.url)
    live = serving.libraries["tales"].live
    assert live is not None

    wanted = composed.generate(TEXT, max_tokens=3, routing=routing_of(policy)).tokens
    assert serving.said(composed.tokens(TEXT)) == [token.token for token in wanted]
    assert serving.replays == 2
    assert "version 1 is decoded by 1 CUDA graphs for up to 1 answers of up to 4 experts each" in caplog.text

    way = live.queries.route(routing_of(policy), (5,))
    before = live.model.graphs.decoder([way])
    versions.decode_by_graphs(live, most=1, told=lambda: None)

    assert live.model.graphs.decoder([way]) is before is not None


def test_a_version_that_is_served_again_keeps_its_graphs(published: PublishedLibrary) -> None:
    published.publish(1)
    serving = Serving(published.url)
    live = serving.libraries["tales"].live
    assert live is not None
    way = live.queries.route(routing_of(live.policy), (5,))
    before = live.model.graphs.decoder([way])

    versions.decode_by_graphs(live, most=1, told=lambda: None)

    assert live.model.graphs.decoder([way]) is before is not None


def test_an_operator_may_do_without(published: PublishedLibrary, composed: ComposedModel) -> None:
    published.publish(1)
    serving = Serving(published.url, graphs=False)

    serving.said(composed.tokens(TEXT))

    assert not serving.replays
    assert serving.graph_bytes == 0
    assert arguments().parse_args(["--store", "store"]).graphs == "auto"
    assert arguments().parse_args(["--store", "store", "--graphs", "off"]).graphs == "off"
