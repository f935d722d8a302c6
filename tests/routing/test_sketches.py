"""Looking at sketches first chooses whom the float32 scores of all experts choose, with the same weights."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from routing import sketches
from routing.compiled import MOST_CHOSEN
from routing.few_tokens import FEW, add_arrow, choose_arrow
from routing.pack import ModulePack, Pack
from routing.routers import ROUTERS, Selection, Terms
from routing.routes import Seat
from routing.sketches import FEWEST, FEWEST_FOR_MANY, loops, resketched, sketched
from routing.threads import side_by_side
from tests.routing.test_mixing import D_IN, D_OUT, module_pack, reference

ARROW = ROUTERS["arrow"]
SCALES = [1.0, 1e-3, 1e-25, 1e-38, 1e-44, 1e4, 1e25, 3e38]  # of tokens: into what float32 ends at, both ways


@pytest.fixture(autouse=True)
def nobody_learns() -> Iterator[None]:
    with torch.no_grad():
        yield


def among(prototypes: torch.Tensor) -> ModulePack:
    experts = module_pack([1] * len(prototypes))
    experts.vectors.prototypes.copy_(prototypes)
    return experts


def drawn_prototypes(draw: torch.Generator, experts: int, spread: float) -> torch.Tensor:
    """Vectors around one, some of them equal, opposite, tiny or zero."""
    near = torch.randn(D_IN, generator=draw) + spread * torch.randn(experts, D_IN, generator=draw)
    near[1::7] = near[0]
    near[2::11] = -near[0]
    near[3::13] *= 1e-20
    near[4::17] = 0.0
    return near


def drawn_tokens(draw: torch.Generator, tokens: int, scale: float, odd: str) -> torch.Tensor:
    hidden = torch.randn(tokens, D_IN, generator=draw) * scale
    if odd == "zero":
        hidden[0] = 0.0
    elif odd == "outlier":
        hidden[0, 1] *= 1e4
    elif odd != "none":
        hidden[0, 2] = float(odd)
    return hidden


def without_sketch(hidden: torch.Tensor, seat: Seat) -> Selection:
    output = torch.zeros(len(hidden), D_OUT)
    with patch("routing.few_tokens.loops", lambda: None):
        chosen = add_arrow(output, hidden, ARROW, seat)
    assert chosen is not None
    return chosen


@settings(max_examples=200)
@given(
    experts=st.integers(FEWEST, 90),
    tokens=st.integers(1, FEW),
    top_k=st.sampled_from([1, 2, 5, MOST_CHOSEN]),
    spread=st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 3.0]),
    scale=st.sampled_from(SCALES),
    odd=st.sampled_from(["none", "zero", "outlier", "nan", "inf", "-inf"]),
    seed=st.integers(0, 999),
)
def test_a_few_tokens_choose_exactly_as_by_all_scores(
    experts: int, tokens: int, top_k: int, spread: float, scale: float, odd: str, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    module = among(drawn_prototypes(draw, experts, spread))
    hidden = drawn_tokens(draw, tokens, scale, odd)
    seat = Seat(module, Terms(top_k, 0.5, experts))
    assert module.sketch is not None

    chosen = add_arrow(torch.zeros(tokens, D_OUT), hidden, ARROW, seat)

    expected = without_sketch(hidden, seat)
    assert chosen is not None
    assert torch.equal(chosen.experts, expected.experts)
    assert torch.equal(chosen.weights, expected.weights)


@settings(max_examples=60)
@given(
    tokens=st.integers(FEW + 1, 40),
    top_k=st.sampled_from([1, 2, 5]),
    spread=st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 3.0]),
    scale=st.sampled_from(SCALES),
    odd=st.sampled_from(["none", "zero", "outlier", "nan", "inf", "-inf"]),
    seed=st.integers(0, 999),
)
def test_so_do_many(tokens: int, top_k: int, spread: float, scale: float, odd: str, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    seat = Seat(among(drawn_prototypes(draw, FEWEST_FOR_MANY, spread)), Terms(top_k, 0.5, FEWEST_FOR_MANY))
    hidden = drawn_tokens(draw, tokens, scale, odd)

    chosen = choose_arrow(hidden, ARROW, seat)

    assert chosen is not None
    for start in range(0, tokens, FEW):
        few = slice(start, start + FEW)
        expected = without_sketch(hidden[few].contiguous(), seat)
        assert torch.equal(chosen.experts[few], expected.experts)
        assert torch.equal(chosen.weights[few], expected.weights)


def test_most_experts_are_never_scored() -> None:
    """Else all of this were for nothing: of 256 random vectors about a dozen are looked at in float32."""
    read = loops()
    assert read is not None
    draw = np.random.default_rng(3)
    prototypes = draw.standard_normal((256, 768)).astype(np.float32)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    hidden = draw.standard_normal((1, 768)).astype(np.float32)
    sketch = sketched(prototypes)
    assert sketch is not None
    scored = np.sort(np.abs(prototypes @ hidden[0]))
    spoilt = prototypes.copy()
    spoilt[np.abs(prototypes @ hidden[0]) < scored[-20]] = np.nan
    experts, weights = np.zeros((1, 2), dtype=np.int64), np.zeros((1, 2), dtype=np.float32)
    nothing = np.zeros((0, 768), dtype=np.float32)

    read.choose_by_sketch_and_mix(
        np.zeros((1, 768), dtype=np.float32), hidden, spoilt, nothing, nothing, np.zeros((256, 2), dtype=np.int64),
        *sketch, 1.0, experts, weights,
    )  # fmt: skip

    assert np.isnan(spoilt).any(axis=1).sum() == 236
    assert experts[0].tolist() == np.argsort(-np.abs(prototypes @ hidden[0]))[:2].tolist()


def test_the_mixture_is_the_same() -> None:
    module = module_pack([1 + place % 5 for place in range(80)])
    seat = Seat(module, Terms(3, 1.0, 80))
    hidden, before = torch.randn(5, D_IN), torch.randn(5, D_OUT)
    output = before.clone()

    chosen = add_arrow(output, hidden, ARROW, seat)

    assert module.sketch is not None
    assert chosen is not None
    torch.testing.assert_close(
        output.double(), reference(before, hidden, chosen, module), atol=1e-4, rtol=1e-4
    )


def test_threads_share_what_many_tokens_choose() -> None:
    draw = torch.Generator().manual_seed(5)
    seat = Seat(among(drawn_prototypes(draw, FEWEST_FOR_MANY, 0.1)), Terms(3, 0.5, FEWEST_FOR_MANY))
    hidden, threads = torch.randn(131, D_IN, generator=draw), torch.get_num_threads()
    chosen = []
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            with patch("routing.sketches.side_by_side", wraps=side_by_side) as shared:
                chosen.append(choose_arrow(hidden, ARROW, seat))
        finally:
            torch.set_num_threads(threads)
        [(_, shares)] = [call.args for call in shared.call_args_list]
        assert len(shares) == count

    one, three = chosen
    assert one is not None
    assert three is not None
    assert torch.equal(one.experts, three.experts)
    assert torch.equal(one.weights, three.weights)


def test_few_or_spoilt_prototypes_have_none() -> None:
    assert module_pack([1] * (FEWEST - 1)).sketch is None
    vectors = torch.ones(FEWEST, D_IN)
    vectors[3, 1] = float("nan")
    assert sketched(vectors.numpy()) is None


@pytest.mark.parametrize("experts", [63, 64, 65, 66, 127, 128, 129])  # FEWEST; whole panels
@settings(max_examples=20, deadline=None)
@given(
    d_in=st.sampled_from([1, 2, 3, 8, 129, 256]),
    kept=st.sampled_from(["all", "many", "few", "shuffled", "none"]),
    spoilt=st.sampled_from(["none", "none", "none", "new"]),
    seed=st.integers(0, 999),
)
def test_one_out_of_another_is_the_one_made_anew(
    experts: int, d_in: int, kept: str, spoilt: str, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    old = of_all_sizes(draw, FEWEST + seed % 128, d_in)
    before = sketched(old)
    assert before is not None
    origin = origins(draw, len(old), experts, kept)
    new = origin < 0
    prototypes = old[origin]
    prototypes[new] = of_all_sizes(draw, int(new.sum()), d_in)
    if spoilt == "new" and new.any():
        prototypes[np.flatnonzero(new)[-1], -1] = np.inf

    found = resketched(before, origin, prototypes)

    expected = sketched(prototypes)
    assert (found is None) is (expected is None)
    if found is not None and expected is not None:
        assert [exactly(part) for part in found] == [exactly(part) for part in expected]


def exactly(array: NDArray[Any]) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.strides, array.tobytes()


def of_all_sizes(draw: np.random.Generator, experts: int, d_in: int) -> NDArray[np.float32]:
    """From the tiniest numbers to the largest, and zeros."""
    sizes = draw.choice([0.0, 1e-44, 1e-20, 1.0, 1.0, 1e19, 1e37], size=(experts, 1))
    return (draw.standard_normal((experts, d_in)) * sizes).astype(np.float32)


def origins(draw: np.random.Generator, old: int, experts: int, kept: str) -> NDArray[np.int64]:
    """For each expert its row before, or -1."""
    share = {"all": 1.0, "many": 0.95, "few": 0.1, "shuffled": 0.7, "none": 0.0}[kept]
    rows = draw.permutation(old)[:experts]
    found = np.full(experts, -1, dtype=np.int64)
    found[: len(rows)] = np.where(draw.random(len(rows)) < share, rows, -1)
    found = draw.permutation(found)
    if kept != "shuffled":
        found[found >= 0] = np.sort(found[found >= 0])
    return found


def test_only_what_is_new_is_sketched() -> None:
    old = np.random.default_rng(2).standard_normal((FEWEST, 7)).astype(np.float32)
    before, origin = sketched(old), np.arange(FEWEST)
    origin[5] = -1
    assert before is not None

    with patch("routing.sketches._sketched", wraps=sketches._sketched) as asked:
        resketched(before, origin, old)

    [(rows,)] = [call.args for call in asked.call_args_list]
    assert np.array_equal(rows, old[5:6])


def test_without_loops_there_is_none_out_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    old = np.ones((FEWEST, 7), dtype=np.float32)
    before = sketched(old)
    assert before is not None
    monkeypatch.setattr(sketches, "loops", lambda: None)

    assert resketched(before, np.arange(FEWEST), old) is None


def test_its_bytes_are_counted() -> None:
    module = module_pack([1] * FEWEST)
    parts = (module.a, module.b, module.vectors.prototypes, module.vectors.gates)
    names = tuple(f"a/{place}" for place in range(FEWEST))

    stored = sum(part.untyped_storage().nbytes() for part in parts)
    assert module.sketch is not None
    assert module.sketch.levels.nbytes >= FEWEST * D_IN
    assert Pack(names, {"m": module}).nbytes == stored + module.sketch.levels.nbytes


@pytest.mark.parametrize("missing", ["few", "another router", "loops"])
def test_others_go_the_general_way(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "loops":
        monkeypatch.setattr(sketches, "loops", lambda: None)
    experts = FEWEST_FOR_MANY - (missing == "few")
    router = ROUTERS["spectral" if missing == "another router" else "arrow"]
    seat = Seat(module_pack([1] * experts), Terms(2, 1.0, experts))

    assert choose_arrow(torch.randn(20, D_IN), router, seat) is None


def test_loops_that_choose_wrong_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = type("Wrong", (), {"choose_by_sketch_and_mix": staticmethod(lambda *_: None)})
    real = importlib.import_module

    def imported(name: str, package: str | None = None) -> Any:
        return wrong if name == "routing.sketch_loops" else real(name, package)

    monkeypatch.setattr(importlib, "import_module", imported)
    with caplog.at_level(logging.WARNING):
        assert sketches.loops.__wrapped__() is None

    assert "every expert is scored, which is slower" in caplog.text
