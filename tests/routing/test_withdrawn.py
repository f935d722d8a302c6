"""A fast way that fails after its trial: torch does the same from then on, and the log says so once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch

from routing import accelerated, compiled, mixing, next_tokens, norms, panels, routers, sketches
from routing.composed import compose
from routing.engine import Engine, Step
from routing.few_tokens import add_arrow
from routing.generation import Generation, Request
from routing.index import RoutingPolicy
from routing.norms import LoopNorm
from routing.pack import ModulePack
from routing.panels import PanelLinear
from routing.routers import ROUTERS, Selection, Terms, best
from routing.routes import Seat
from routing.sampling import Sampling
from routing.trusted import WITHDRAWN, Partly
from tests.routing.libraries import llama_library
from tests.routing.test_mixing import D_IN, D_OUT, module_pack

TRITON_SAYS = "out of resource: shared memory"


class Broken(Exception):
    """What a compiler or a driver may say."""


def hear(heard: list[int], step: Step) -> None:
    heard += [one.token for one in step.tokens]


def broken(*_: object, **__: object) -> None:
    raise Broken(TRITON_SAYS)


@pytest.fixture(autouse=True)
def trusted_again() -> Iterator[None]:
    """Whatever is withdrawn here is tried anew by other tests."""

    def forget() -> None:
        WITHDRAWN.clear()
        accelerated.GIVEN_UP.clear()
        for tried in (compiled.kernels, sketches.loops, next_tokens.loops, norms.loops):
            tried.cache_clear()

    forget()
    with torch.no_grad():
        yield
    forget()


@pytest.fixture
def broken_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This machine's processor taken for a GPU, all of whose kernels fail."""
    kernels = SimpleNamespace(mix=broken, choose=broken, arrow=broken)
    monkeypatch.setattr(accelerated, "DEVICE", "cpu")
    monkeypatch.setattr(accelerated, "kernels", lambda *_: kernels)
    return kernels


@pytest.fixture
def pack() -> ModulePack:
    return module_pack([3] * 30)


CHOSEN = Selection(torch.tensor([[5, 0]] * 4), torch.tensor([[0.75, 0.25]] * 4))


def mixed(pack: ModulePack) -> torch.Tensor:
    output = torch.zeros(4, D_OUT)
    mixing.add_mixture(output, torch.linspace(-1, 1, 4 * D_IN).view(4, D_IN), CHOSEN, pack)
    return output


def test_a_kernel_that_fails_is_replaced_for_what_it_was_asked_and_not_asked_again(
    pack: ModulePack, broken_gpu: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with patch.object(accelerated, "DEVICE", "cuda"):
        expected = mixed(pack)

    found = [mixed(pack), mixed(pack)]

    for one in found:
        torch.testing.assert_close(one, expected)
    assert accelerated.kernels_for(2, expected) is None
    assert accelerated.kernels_for(2, expected.half()) is broken_gpu
    assert caplog.text.count(TRITON_SAYS) == 1
    assert "from now on cpu in torch.float32: experts are chosen and mixed by torch alone" in caplog.text


@pytest.mark.usefixtures("broken_gpu")
def test_kernels_that_fail_to_choose_are_replaced_too(pack: ModulePack) -> None:
    scores, terms = torch.tensor([[1.0, 3.0, 2.0]]), Terms(2, 1.0, 3)

    assert best(scores, terms).experts.tolist() == [[1, 2]]
    accelerated.GIVEN_UP.clear()
    output = torch.zeros(1, D_OUT)
    assert add_arrow(output, torch.ones(1, D_IN), ROUTERS["arrow"], Seat(pack, Terms(2, 1.0, 30))) is None
    assert not output.any()


def test_one_that_has_written_already_ends_its_pass(pack: ModulePack, broken_gpu: Any) -> None:
    def halfway(output: torch.Tensor, *_: object) -> None:
        output += 1
        raise Partly(TRITON_SAYS)

    broken_gpu.mix = halfway
    with pytest.raises(Partly):
        mixed(pack)
    assert accelerated.kernels_for(2, torch.zeros(1)) is None


@pytest.mark.parametrize("short", [torch.OutOfMemoryError, MemoryError])
def test_for_want_of_memory_nothing_is_withdrawn(
    pack: ModulePack, broken_gpu: Any, short: type[Exception]
) -> None:
    def wanting(*_: object) -> None:
        raise short

    broken_gpu.mix = wanting
    with pytest.raises(short):
        mixed(pack)
    assert accelerated.kernels_for(2, torch.zeros(1)) is broken_gpu


@pytest.mark.skipif(compiled.kernels() is None, reason="numba is not here")
def test_a_loop_that_fails_is_replaced_and_not_asked_again(
    pack: ModulePack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = mixed(pack)
    loops = SimpleNamespace(mix=broken, choose=broken)
    for module in (mixing, routers):
        monkeypatch.setattr(module, "kernels", lambda: loops)

    torch.testing.assert_close(mixed(pack), expected)
    assert best(torch.tensor([[1.0, 3.0, 2.0]]), Terms(2, 1.0, 3)).experts.tolist() == [[1, 2]]
    assert compiled.kernels() is None
    assert caplog.text.count(TRITON_SAYS) == 1


@pytest.mark.skipif(norms.loops() is None, reason="numba is not here")
def test_a_norm_whose_loop_fails_goes_on_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    norm, x = LoopNorm(torch.linspace(0.5, 2.0, 8), 1e-6), torch.linspace(-1, 1, 16).view(2, 8)
    expected = norm(x)
    monkeypatch.setattr(norm, "_normalise", broken)

    for _ in range(2):
        torch.testing.assert_close(norm(x), expected)
    assert norms.loops() is None


@pytest.mark.skipif(panels.loops() is None, reason="numba is not here")
def test_a_layer_in_panels_whose_loop_fails_goes_on_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = torch.nn.Linear(20, 33), torch.linspace(-1, 1, 40).view(2, 20)
    laid = PanelLinear(layer)
    monkeypatch.setattr(panels.loops(), "multiply", broken)

    for _ in range(2):
        torch.testing.assert_close(laid(x), layer(x))
    assert panels.INSTEAD in WITHDRAWN


@pytest.mark.skipif(next_tokens.loops() is None, reason="numba is not here")
def test_answers_under_way_go_on_where_a_loop_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    library = llama_library(tmp_path)
    model = compose(library.base(), library.experts(), RoutingPolicy(top_k=2))

    def written() -> list[list[int]]:
        told: list[list[int]] = [[], []]
        engine = Engine()
        for prompt, heard in zip(((5, 6, 7), (9, 8)), told, strict=True):
            work = Generation(model.routed, Request(prompt, 6, model.way(""), Sampling(0.0)))
            engine.submit([(work, partial(hear, heard))])
        while engine.step():
            pass
        return told

    expected = written()
    for loops in (next_tokens.loops(), compiled.kernels()):
        for name in ("attend", "choose_and_mix", "mix", "choose"):
            if hasattr(loops, name):
                monkeypatch.setattr(loops, name, broken)

    assert written() == expected
    assert next_tokens.INSTEAD in WITHDRAWN
    assert len(expected[0]) == 6
    assert "from now on answers are attended to one by one" in caplog.text


def test_what_the_fast_ways_are_not_for_is_said_once(
    broken_gpu: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accelerated._say_that_many_are_for_torch.cache_clear()
    compiled.say_that_torch_mixes.cache_clear()
    for _ in range(2):
        assert accelerated.kernels_for(accelerated.MOST + 1, torch.zeros(1)) is None
    monkeypatch.setattr(accelerated, "DEVICE", "cuda")
    halves = module_pack([3] * 30)
    output, hidden = torch.zeros(4, D_OUT), torch.ones(4, D_IN)
    for _ in range(2):
        half = replace(halves, a=halves.a.bfloat16(), b=halves.b.bfloat16())
        mixing.add_mixture(output.bfloat16(), hidden.bfloat16(), CHOSEN, half)

    assert caplog.text.count("of more than 16 experts for each token") == 1
    assert caplog.text.count("torch.bfloat16 on a CPU: experts are mixed by torch alone") == 1
