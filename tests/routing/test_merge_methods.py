"""Every merge by name equals a dense float64 reference, and depends on nothing that it should not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routing import dense
from routing.adapter import LowRank
from routing.dense import DenseUpdate, as_dense, best_of_rank, whole
from routing.errors import BadMerge
from routing.factors import Factors, canonical
from routing.merge import DENSITIES, MERGES, MergePlan, at_rank, merge_experts
from routing.sparsity import drawn, threshold

SHAPES = {"q": (11, 14), "k": (5, 14), "down": (9, 20)}
BY_LOT = ("dare-linear", "dare-ties")
WEIGHED = [name for name in MERGES if name != "mean"]
Experts = dict[str, dict[str, Factors]]


def update(rank: int, seed: int, shape: tuple[int, int]) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, shape[1], generator=generator), torch.randn(shape[0], rank, generator=generator)
    return canonical(LowRank(a, b, 0.5))


def expert(rank: int, seed: int, modules: tuple[str, ...] = tuple(SHAPES)) -> dict[str, Factors]:
    return {name: update(rank, seed * 10 + place, SHAPES[name]) for place, name in enumerate(modules)}


def library() -> Experts:
    """Of three ranks; one does not touch every module."""
    return {"cy": expert(7, 3), "ada": expert(2, 1), "bob": expert(4, 2, ("down", "q"))}


def entries(update: Factors | DenseUpdate) -> torch.Tensor:
    return (whole(as_dense(update)) if isinstance(update, Factors) else whole(update)).double()


def readable(one: Mapping[str, Factors]) -> dict[str, DenseUpdate]:
    return {module: as_dense(factors) for module, factors in one.items()}


def merged(experts: Experts, plan: MergePlan) -> dict[str, torch.Tensor]:
    return {name: entries(update) for name, update in merge_experts(experts, plan).items()}


def plan_of(method: str, weights: Mapping[str, float] | None = None, **options: float) -> MergePlan:
    if weights is None and method == "weighted":
        weights = {"ada": 1.0, "bob": 1.0, "cy": 1.0}
    return MergePlan(method, weights=weights, **options)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------- references


def dense_reference(experts: Experts, plan: MergePlan) -> dict[str, torch.Tensor]:
    """The methods as their papers state them, on whole matrices in float64, one expert's vector at a time."""
    shares = plan.weights or dict.fromkeys(experts, 1.0 / len(experts))
    total = sum(shares.values()) if plan.method == "weighted" else 1.0
    thin = {name: _thinned(name, one, plan) for name, one in experts.items()}
    found = {}
    for module, shape in SHAPES.items():
        present = [name for name in experts if module in experts[name]]
        stacked = torch.stack([shares[name] / total * thin[name][module] for name in present])
        size = torch.tensor([abs(shares[name]) for name in present]).double().view(-1, 1, 1)
        if plan.method.endswith("ties"):
            agree = torch.sign(stacked) == torch.sign(stacked.sum(0))
            agree &= stacked != 0
            summed = (stacked * agree).sum(0) / (size * agree).sum(0).clamp_min(1e-300)
        else:
            summed = stacked.sum(0)
        assert summed.shape == shape
        found[module] = plan.scale * summed
    return found


def _thinned(name: str, one: Mapping[str, Factors], plan: MergePlan) -> dict[str, torch.Tensor]:
    matrices = {module: factors.b.double() @ factors.a.double() for module, factors in one.items()}
    if plan.method in BY_LOT:
        return {
            module: matrix
            * drawn(
                slice(0, len(matrix)),
                matrix.shape[1],
                seed=plan.seed,
                expert=name,
                module=module,
                density=plan.kept,
            )
            / plan.kept
            for module, matrix in matrices.items()
        }
    vector = torch.cat([matrix.flatten() for matrix in matrices.values()]).abs()
    smallest = vector.sort(descending=True).values[max(1, round(plan.kept * len(vector))) - 1]
    return {module: matrix * (matrix.abs() >= smallest) for module, matrix in matrices.items()}


@pytest.mark.parametrize("method", MERGES)
@pytest.mark.parametrize("scale", [1.0, -0.4])
def test_every_method_equals_its_dense_float64_reference(method: str, scale: float) -> None:
    experts = library()
    weights = None if method == "mean" else {"ada": 0.7, "bob": 1.3, "cy": 0.5}
    plan = plan_of(method, weights, scale=scale, seed=5)

    found = merged(experts, plan)

    expected = dense_reference(experts, plan)
    assert found.keys() == expected.keys()
    for module, matrix in expected.items():
        torch.testing.assert_close(found[module], matrix, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("method", ["task-arithmetic", "magnitude", "ties", "dare-linear", "dare-ties"])
def test_negative_weights_subtract_as_the_reference_does(method: str) -> None:
    plan = plan_of(method, {"ada": 1.0, "bob": -0.5, "cy": 0.25})

    found = merged(library(), plan)

    for module, matrix in dense_reference(library(), plan).items():
        torch.testing.assert_close(found[module], matrix, atol=2e-6, rtol=2e-6)


# --------------------------------------------------------------------------------------- what must not matter


@pytest.mark.parametrize("method", MERGES)
def test_the_order_of_experts_and_modules_changes_no_bit(method: str) -> None:
    experts = library()
    turned = {name: dict(reversed(experts[name].items())) for name in reversed(experts)}

    one, other = merged(experts, plan_of(method)), merged(turned, plan_of(method))

    assert all(torch.equal(one[module], other[module]) for module in SHAPES)


@pytest.mark.parametrize("method", WEIGHED)
def test_an_expert_that_weighs_nothing_is_not_there(method: str) -> None:
    experts, weights = library(), {"ada": 1.0, "bob": 0.5}

    without = {name: one for name, one in experts.items() if name != "cy"}
    with_nothing = merged(experts, plan_of(method, weights | {"cy": 0.0}))

    for module, matrix in merged(without, plan_of(method, weights)).items():
        assert torch.equal(with_nothing[module], matrix)


@settings(derandomize=True, max_examples=20)
@given(seed=st.integers(0, 999), rank=st.integers(1, 6), method=st.sampled_from(sorted(MERGES)))
def test_refactoring_changes_nothing(seed: int, rank: int, method: str) -> None:
    """A -> M A, B -> B M^-1, with the scaling moved about."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 14, generator=generator), torch.randn(11, rank, generator=generator)
    mixing = torch.linalg.qr(torch.randn(rank, rank, generator=generator)).Q * 3.0
    plain = {"ada": {"q": canonical(LowRank(a, b, 2.0))}, "bob": {"q": update(3, seed + 1, SHAPES["q"])}}
    again = plain | {"ada": {"q": canonical(LowRank(mixing @ a, b @ torch.linalg.inv(mixing), 2.0))}}
    plan = plan_of(method, None if method == "mean" else {"ada": 0.6, "bob": 0.4})

    one, other = merged(plain, plan)["q"], merged(again, plan)["q"]

    # an entry within rounding of a threshold may fall on its other side
    close = torch.isclose(one, other, atol=1e-4, rtol=1e-4)
    assert int((~close).sum()) <= 1


@pytest.mark.parametrize("method", MERGES)
def test_the_size_of_blocks_changes_nothing(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = merged(library(), plan_of(method))

    monkeypatch.setattr(dense, "ENTRIES_AT_ONCE", 30)  # two rows, or one
    by_rows = merged(library(), plan_of(method))

    for module, matrix in at_once.items():
        torch.testing.assert_close(by_rows[module], matrix, atol=1e-7, rtol=1e-6)


# ------------------------------------------------------------------------------------------- what must hold


@pytest.mark.parametrize("method", ["task-arithmetic", "magnitude", "ties"])
def test_a_negative_weight_cancels_a_copy(method: str) -> None:
    one = expert(3, 8)

    left = merge_experts({"a/one": one, "b/copy": one}, plan_of(method, {"a/one": 1.0, "b/copy": -1.0}))

    assert all(not entries(update).any() for update in left.values())


@pytest.mark.parametrize("method", ["weighted", "task-arithmetic", "magnitude", "dare-linear"])
def test_with_all_entries_kept_and_equal_weights_a_sum_is_the_mean(method: str) -> None:
    weights = None if method in DENSITIES else {"ada": 1 / 3, "bob": 1 / 3, "cy": 1 / 3}

    found = merged(library(), MergePlan(method, weights, density=1.0 if method in DENSITIES else None))

    for module, matrix in merged(library(), MergePlan()).items():
        torch.testing.assert_close(found[module], matrix, atol=1e-6, rtol=1e-5)


def test_ties_of_experts_that_agree_is_their_mean() -> None:
    one = expert(3, 4)
    louder = {name: Factors(module.a, 3.0 * module.b, 3.0 * module.sigma) for name, module in one.items()}

    found = merged({"ada": one, "bob": louder}, MergePlan("ties", density=1.0))

    for module, matrix in found.items():
        torch.testing.assert_close(matrix, 2.0 * entries(one[module]), atol=1e-6, rtol=1e-5)


def test_one_expert_alone_is_merged_into_itself() -> None:
    alone = {"ada": expert(3, 4)}

    for method in MERGES:
        weights = None if method == "mean" else {"ada": 1.0}
        found = merged(alone, MergePlan(method, weights, density=1.0 if method in DENSITIES else None))
        for module, matrix in found.items():
            torch.testing.assert_close(matrix, entries(alone["ada"][module]), atol=1e-6, rtol=1e-5)


# ------------------------------------------------------------------------------------------ trimming, drawing


@settings(derandomize=True, max_examples=30)
@given(seed=st.integers(0, 99), density=st.floats(0.001, 1.0))
def test_the_threshold_is_the_kth_largest_entry_of_all_modules(seed: int, density: float) -> None:
    one = expert(4, seed)
    every = torch.cat([entries(factors).abs().flatten() for factors in one.values()])

    smallest = threshold(readable(one), density)

    kept = max(1, round(density * len(every)))
    assert int((every >= smallest).sum()) == kept


def test_entries_that_tie_at_the_threshold_all_stay() -> None:
    ones = canonical(LowRank(torch.ones(1, 6), torch.ones(4, 1), 1.0))

    assert threshold(readable({"q": ones}), 0.25) <= float(entries(ones).min())


def test_a_drawn_share_is_kept_and_the_seed_decides_which() -> None:
    options = {"expert": "ada", "module": "q", "density": 0.3}

    one = drawn(slice(0, 200), 501, seed=1, **options)  # type: ignore[arg-type]
    other = drawn(slice(0, 200), 501, seed=2, **options)  # type: ignore[arg-type]

    assert one.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert (one & other).float().mean().item() == pytest.approx(0.09, abs=0.01)
    assert torch.equal(drawn(slice(77, 90), 501, seed=1, **options), one[77:90])  # type: ignore[arg-type]


def test_all_entries_are_drawn_when_all_are_to_be_kept() -> None:
    assert bool(drawn(slice(0, 9), 33, seed=0, expert="ada", module="q", density=1.0).all())


def test_memory_is_asked_for_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "ENTRIES_AT_ONCE", 60)
    asked: list[int] = []
    plain = dense._low_rank_rows

    def watched(factors: Factors, rows: slice) -> torch.Tensor:
        asked.append((rows.stop - rows.start) * factors.a.shape[1])
        return plain(factors, rows)

    monkeypatch.setattr(dense, "_low_rank_rows", watched)

    merged(library(), MergePlan("ties"))

    assert max(asked) <= 60


# ------------------------------------------------------------------------------------------- back to a rank


@pytest.mark.parametrize("method", MERGES)
def test_a_merge_at_a_rank_is_the_best_of_that_rank_and_says_what_it_loses(method: str) -> None:
    update = merge_experts(library(), plan_of(method))["q"]

    cut, lost = at_rank(update, 3)

    singular = torch.linalg.svdvals(entries(update))
    difference = torch.linalg.matrix_norm(entries(update) - entries(cut)) ** 2
    assert cut.rank <= 3
    assert float(difference) == pytest.approx(float(singular[3:].square().sum()), rel=1e-4)
    assert lost == pytest.approx(float(difference / singular.square().sum()), abs=1e-5)


def test_subspace_iteration_finds_what_a_whole_decomposition_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(90, 70, generator=generator)
    update = DenseUpdate(90, 70, lambda rows: noise[rows])
    exact, least = best_of_rank(update, 8)

    monkeypatch.setattr(dense, "EXACT_SIDE", 0)
    found, lost = best_of_rank(update, 8)

    torch.testing.assert_close(found.sigma, exact.sigma, atol=0, rtol=1e-3)
    assert lost == pytest.approx(least, abs=1e-5)
    assert torch.equal(best_of_rank(update, 8)[0].a, found.a)


def test_nothing_has_rank_nothing_and_loses_nothing() -> None:
    nothing = DenseUpdate(4, 6, lambda rows: torch.zeros(rows.stop - rows.start, 6))

    factors, lost = best_of_rank(nothing, 2)

    assert (factors.rank, lost) == (0, 0.0)


# ----------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"method": "average"}, "method"),
        ({"method": "mean", "weights": {"ada": 1.0}}, "weights"),
        ({"method": "weighted"}, "weights"),
        ({"method": "weighted", "weights": {"ada": -1.0, "bob": 2.0}}, "weights"),
        ({"method": "weighted", "weights": {"ada": 0.0}}, "weights"),
        ({"method": "task-arithmetic", "weights": {"ada": float("nan")}}, "weights"),
        ({"method": "task-arithmetic", "weights": {}}, "weights"),
        ({"method": "task-arithmetic", "weights": {"ada": 1.0, "zoe": 1.0}}, "weights"),
        ({"method": "ties", "density": 0.0}, "density"),
        ({"method": "dare-ties", "density": 1.5}, "density"),
        ({"method": "task-arithmetic", "density": 0.5}, "density"),
        ({"method": "ties", "scale": float("inf")}, "scale"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, object], field: str) -> None:
    with pytest.raises(BadMerge) as refused:
        merge_experts(library(), MergePlan(**options))  # type: ignore[arg-type]

    assert refused.value.field == field
