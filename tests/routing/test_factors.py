"""The canonical form keeps the update and forgets how it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.adapter import Adapter, LowRank, read_adapter
from routing.base import inspect_base
from routing.expert_statistics import statistics
from routing.factors import (
    Factors,
    canonical,
    cosine,
    expert_factors,
    fingerprint,
    inner,
    norm,
    reconstruction_error,
)
from routing.prototypes import arrow_prototype, routing_vectors
from routing.spec import BaseRef
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_llama

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**31))


def random_update(rank: int, d_in: int, d_out: int, seed: int, scaling: float = 0.7) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, d_in, generator=generator)
    return LowRank(a, torch.randn(d_out, rank, generator=generator), scaling)


def dense(update: LowRank) -> torch.Tensor:
    return update.scaling * update.b.double() @ update.a.double()


def expert(seed: int, *, rank: int = 4) -> dict[str, Factors]:
    modules = {f"layer.{i}": random_update(rank, 64, 48, 100 * seed + i) for i in range(8)}
    return expert_factors(Adapter(modules))


@settings(max_examples=60)
@given(SHAPES)
def test_the_form_is_the_singular_value_decomposition_of_the_update(shape: tuple[int, int, int, int]) -> None:
    update = random_update(*shape)

    factors = canonical(update)

    torch.testing.assert_close(factors.b.double() @ factors.a.double(), dense(update), rtol=1e-5, atol=1e-5)
    true = torch.linalg.svdvals(dense(update))
    torch.testing.assert_close(factors.sigma.double(), true[: factors.rank], rtol=1e-5, atol=1e-6)
    assert true[factors.rank :].sum() <= 1e-5 * true[0]
    unit = torch.eye(factors.rank)
    torch.testing.assert_close(factors.a @ factors.a.T, unit, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        factors.b.T @ factors.b,
        torch.diag(factors.sigma.square()),
        rtol=1e-4,
        atol=1e-4 * float(true[0]) ** 2,
    )


@settings(max_examples=40)
@given(SHAPES)
def test_the_largest_entry_of_each_direction_is_positive(shape: tuple[int, int, int, int]) -> None:
    a = canonical(random_update(*shape)).a

    assert bool((a.gather(1, a.abs().argmax(1, keepdim=True)) > 0).all())


def variants(update: LowRank) -> dict[str, LowRank]:
    mixing = torch.linalg.qr(torch.randn(update.rank, update.rank, dtype=torch.float64))[0] * 3
    padded_a = torch.cat([update.a, torch.zeros(3, update.a.shape[1])])
    padded_b = torch.cat([update.b, torch.randn(update.b.shape[0], 3)], dim=1)
    return {
        "signs changed": LowRank(-update.a, -update.b, update.scaling),
        "scaling moved": LowRank(update.a, update.b * update.scaling, 1.0),
        "re-factored": LowRank(
            (mixing @ update.a.double()).float(),
            (update.b.double() @ torch.linalg.inv(mixing)).float(),
            update.scaling,
        ),
        "rank padded with zeros": LowRank(padded_a, padded_b, update.scaling),
    }


@pytest.mark.parametrize(
    "variant", ["signs changed", "scaling moved", "re-factored", "rank padded with zeros"]
)
def test_however_an_update_is_written_its_form_is_the_same(variant: str) -> None:
    update = random_update(5, 40, 30, seed=1)

    one, other = canonical(update), canonical(variants(update)[variant])

    assert one.rank == other.rank == 5
    torch.testing.assert_close(one.a, other.a, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.b, other.b, rtol=1e-4, atol=1e-4)


def test_a_zero_update_has_rank_zero_and_its_module_is_left_out() -> None:
    zero = LowRank(torch.randn(4, 10), torch.zeros(6, 4), 1.0)
    adapter = Adapter({"dead": zero, "alive": random_update(4, 10, 6, 3)})

    assert canonical(zero).rank == 0
    assert list(expert_factors(adapter)) == ["alive"]
    assert statistics(adapter, expert_factors(adapter))["untouched_modules"] == ["dead"]


def test_working_in_batches_changes_no_bit(tmp_path: Path) -> None:
    spec = inspect_base(BaseRef(str(tiny_llama())), name="tiny")
    adapter = read_adapter(tiny_adapter(tmp_path, rank_pattern={"q_proj": 2}), spec)

    together = expert_factors(adapter)

    assert list(together) == [module.name for module in spec.target_modules]
    for name, update in adapter.low_rank.items():
        alone = canonical(update)
        assert torch.equal(together[name].a, alone.a)
        assert torch.equal(together[name].b, alone.b)


@settings(max_examples=40)
@given(SHAPES)
def test_the_reconstruction_error_is_that_of_the_dense_products(shape: tuple[int, int, int, int]) -> None:
    update = random_update(*shape)
    factors = canonical(update)

    difference = factors.b.double() @ factors.a.double() - dense(update)
    true = float(torch.linalg.matrix_norm(difference) / torch.linalg.matrix_norm(dense(update)))

    assert reconstruction_error(update, factors) == pytest.approx(true, rel=1e-3, abs=1e-12)
    assert true < 1e-6


def test_products_and_cosines_are_those_of_the_dense_updates() -> None:
    f, g = expert(1), expert(2, rank=7)
    dense_f = torch.cat([(m.b.double() @ m.a.double()).flatten() for m in f.values()])
    dense_g = torch.cat([(m.b.double() @ m.a.double()).flatten() for m in g.values()])

    assert sum(inner(f[name], g[name]) for name in f) == pytest.approx(float(dense_f @ dense_g), rel=1e-5)
    assert norm(f) == pytest.approx(float(dense_f.norm()), rel=1e-6)
    true = float(torch.nn.functional.cosine_similarity(dense_f, dense_g, dim=0))
    assert cosine(f, g) == pytest.approx(true, abs=1e-6)
    assert cosine(f, f) == pytest.approx(1.0, abs=1e-6)


def test_modules_that_only_one_expert_has_count_in_its_length() -> None:
    f = expert(1)
    half = dict(list(f.items())[:4])

    assert cosine(f, half) == pytest.approx(norm(half) / norm(f), abs=1e-6)
    assert cosine(f, {}) == 0


def test_fingerprints_estimate_the_cosine_and_are_equal_for_equal_updates() -> None:
    f, g = expert(1), expert(2)
    jittered = {
        name: canonical(LowRank(m.a, m.b + 0.02 * m.b.abs().mean() * torch.randn_like(m.b), 1.0))
        for name, m in f.items()
    }

    assert fingerprint(f).shape == (1024,)
    assert float(fingerprint(f) @ fingerprint(f)) == pytest.approx(1, abs=1e-5)
    assert float(fingerprint(f) @ fingerprint(jittered)) > 0.99
    assert abs(float(fingerprint(f) @ fingerprint(g))) < 0.3


def test_the_prototype_is_the_top_right_singular_vector_and_a_flat_spectrum_is_flagged() -> None:
    update = random_update(6, 30, 20, seed=5)
    flat = LowRank(torch.eye(4, 30), torch.eye(20, 4), 1.0)
    adapter = Adapter({"sharp": update, "flat": flat})
    factors = expert_factors(adapter)

    true = torch.linalg.svd(dense(update)).Vh[0]
    assert abs(float(arrow_prototype(factors["sharp"]).double() @ true)) == pytest.approx(1, abs=1e-6)
    report = statistics(adapter, factors)
    assert (report["modules"]["flat"]["ambiguous"], report["ambiguous_modules"]) == (True, 1)
    assert report["modules"]["sharp"]["uploaded_rank"] == 6
    assert report["largest_error"] < 1e-6
    assert report["summary"] == {
        "expert_kind": "LoRA",
        "rank_smallest": 4,
        "rank_largest": 6,
        "modules": 2,
        "kinds": ["flat", "sharp"],
    }


def test_transposed_layers_have_prototypes_of_their_input_width(tmp_path: Path) -> None:
    spec = inspect_base(BaseRef(str(tiny_gpt2())), name="tiny")

    vectors = routing_vectors(expert_factors(read_adapter(tiny_adapter(tmp_path, tiny_gpt2()), spec)))

    assert vectors["transformer.h.0.mlp.c_fc"].prototype.shape == (48,)
    assert vectors["transformer.h.0.mlp.c_proj"].prototype.shape == (192,)
