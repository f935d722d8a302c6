"""Tensor parallelism without vLLM: two who talk over gloo say together what one says alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from torch.nn import Linear, Module, Parameter

from fletch_vllm.errors import NotServable
from fletch_vllm.layer import RoutedLayer, SplitInputLayer
from fletch_vllm.mixture import Placed, clear, place
from fletch_vllm.moments import write_moments
from fletch_vllm.parts import WHOLE, Part, cut_input, cut_output, moved
from fletch_vllm.served import read_served
from routing.index import RoutingPolicy
from routing.routers import QUERY_ROUTERS, ROUTERS, Router
from routing.routes import Route, Seat
from tests.fletch_vllm.checkpoints import checkpoint
from tests.routing.libraries import llama_library

CPU = torch.device("cpu")
SIZE = 2
OF_TOKENS = sorted(set(ROUTERS) - QUERY_ROUTERS - {"single"})
COLUMNS, ROWS = "model.layers.1.mlp.gate_proj", "model.layers.1.mlp.down_proj"
PATIENCE = timedelta(seconds=60)
Cut = Callable[[Seat, Router, Part], Seat]


@pytest.fixture(autouse=True)
def _nobody_left() -> Iterator[None]:
    yield
    clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    made = checkpoint(
        tmp_path_factory.mktemp("model"), library, RoutingPolicy("arrow", top_k=2), gates_of="bob/wide"
    )
    write_moments(made)
    return made


@dataclass(frozen=True)
class Member:
    """One of those who work together: its part, and its end of the line to the others."""

    part: Part
    line: Any = None  # a process group of torch.distributed; nobody is at the other end of None

    def gathered(self, x: Tensor) -> Tensor:
        if self.line is None:
            return x
        parts = [torch.empty_like(x) for _ in range(self.part.size)]
        self.line.allgather([parts], [x.contiguous()]).wait()
        return torch.cat(parts, dim=-1)

    def added_up(self, x: Tensor) -> Tensor:
        if self.line is not None:
            self.line.allreduce([x]).wait()
        return x

    def name(self, layer: str) -> str:
        """Experts are found by the name of their layer, and here all members are threads of one process."""
        return f"{self.part.rank} of {self.part.size}: {layer}"


def together(folder: Path, meeting: Path) -> list[dict[str, Tensor]]:
    """What each of two members says, who talk to each other over gloo."""

    def one(rank: int) -> dict[str, Tensor]:
        line: Any = distributed
        line = line.ProcessGroupGloo(line.FileStore(str(meeting), SIZE), rank, SIZE, PATIENCE)
        return said(folder, Member(Part(rank, SIZE), line))

    with ThreadPoolExecutor(SIZE) as threads:
        return list(threads.map(one, range(SIZE)))


@torch.inference_mode()
def said(folder: Path, member: Member) -> dict[str, Tensor]:
    """By router: the part that a column-parallel layer makes, and the whole of a row-parallel one's sum."""
    found = {}
    for router in OF_TOKENS:
        way = read_served(folder, {"router": router}).route(torch.float32)
        for tokens in (3, 50):
            found[f"{router} {COLUMNS} {tokens}"] = columns(way, member)(inputs(way, COLUMNS, tokens))
            whole = inputs(way, ROWS, tokens)
            mine = whole[:, member.part.of(whole.shape[1])].contiguous()  # as a layer is given it
            found[f"{router} {ROWS} {tokens}"] = rows(way, member)(mine)
    return found


def columns(way: Route, member: Member) -> Module:
    base_layer, seat, name = linear(way, COLUMNS), way.seats[COLUMNS], member.name(COLUMNS)
    mine = member.part.of(base_layer.out_features)
    shard = Linear(base_layer.in_features, mine.stop - mine.start)
    shard.weight, shard.bias = (Parameter(p[mine]) for p in (base_layer.weight, base_layer.bias))
    place(name, Placed(moved(cut_output(seat, way.router, member.part), CPU), way.router))
    return RoutedLayer(name, shard)


def rows(way: Route, member: Member) -> Module:
    base_layer, seat, name = linear(way, ROWS), way.seats[ROWS], member.name(ROWS)
    mine = member.part.of(base_layer.in_features)
    shard = Linear(mine.stop - mine.start, base_layer.out_features, bias=member.part.rank == 0)
    shard.weight = Parameter(base_layer.weight[:, mine])
    if member.part.rank == 0:
        shard.bias = base_layer.bias
    place(name, Placed(moved(cut_input(seat, way.router, member.part), CPU), way.router))
    return SplitInputLayer(name, shard, gather=member.gathered, reduce=member.added_up)


def linear(way: Route, name: str) -> Linear:
    module, chance = way.seats[name].module, torch.Generator().manual_seed(4)
    found = Linear(module.a.shape[1], module.b.shape[1])
    for parameter in found.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=chance) * 0.1)
    return found


def inputs(way: Route, name: str, tokens: int) -> Tensor:
    chance = torch.Generator().manual_seed(tokens)
    return torch.randn(tokens, way.seats[name].module.a.shape[1], generator=chance)


def test_members_together_say_what_one_says_alone(folder: Path, tmp_path: Path) -> None:
    alone, both = said(folder, Member(WHOLE)), together(folder, tmp_path / "meeting")

    assert len(alone) == 4 * len(OF_TOKENS)
    for name, whole in alone.items():
        first, second = (one[name] for one in both)
        if ROWS in name:
            assert torch.equal(first, second), name
        found = first if ROWS in name else torch.cat([first, second], dim=-1)
        assert torch.allclose(found, whole, atol=1e-5, rtol=1e-5), name


@pytest.mark.parametrize("router", OF_TOKENS)
@pytest.mark.parametrize("cut", [cut_input, cut_output])
def test_every_process_chooses_as_one_alone(folder: Path, router: str, cut: Cut) -> None:
    way = read_served(folder, {"router": router}).route(torch.float32)
    seat, hidden = way.seats[ROWS], inputs(way, ROWS, 50)

    mine = cut(seat, way.router, Part(1, SIZE))

    one, whole = mine.select(way.router, hidden), seat.select(way.router, hidden)
    assert torch.equal(one.experts, whole.experts)
    assert torch.equal(one.weights, whole.weights)


@pytest.mark.parametrize("cut", [cut_input, cut_output])
@pytest.mark.parametrize("router", OF_TOKENS)
def test_the_memory_that_a_part_was_cut_from_is_not_kept(folder: Path, router: str, cut: Cut) -> None:
    way = read_served(folder, {"router": router}).route(torch.float32)
    seat = way.seats[ROWS]
    assert seat.module.growing is not None

    mine = cut(seat, way.router, Part(1, SIZE))

    for module in (mine.module, mine.judged, moved(seat, CPU).module):
        assert module is None or module.growing is None


def test_columns_that_cannot_be_shared_out_are_refused() -> None:
    assert Part(1, 2).of(6) == slice(3, 6)
    with pytest.raises(NotServable, match="7 columns cannot be cut into 2"):
        Part(0, 2).of(7)
