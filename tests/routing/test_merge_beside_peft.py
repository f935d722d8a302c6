"""The same adapters merged by peft 0.21.2 in the space of updates (`*svd`): where we agree, and where we do not."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from routing.dense import whole
from routing.factors import Factors
from routing.merge import Experts, MergePlan, merge_experts
from tests.routing.libraries import SmallLibrary, llama_library

NAMES = ("ada/plain", "bob/wide")  # of ranks 4 and 7, one with rank-stabilised scaling
FULL_RANK = 64  # nothing is cut


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("merge"))


@pytest.fixture(scope="module")
def experts(library: SmallLibrary) -> Experts:
    every = library.experts()
    return {name: every[name] for name in NAMES}


def theirs(
    library: SmallLibrary, method: str, weights: list[float], density: float | None = None
) -> dict[str, torch.Tensor]:
    """peft's merged update of every module."""
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(library.folder), library.adapters[NAMES[0]], adapter_name="first"
    )
    model.load_adapter(str(library.adapters[NAMES[1]]), adapter_name="second")
    model.add_weighted_adapter(
        ["first", "second"],
        weights,
        "merged",
        combination_type=method,
        svd_rank=FULL_RANK,
        svd_full_matrices=False,
        density=density,
    )
    return {
        name.removeprefix("base_model.model."): module.get_delta_weight("merged").double()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def ours(experts: Experts, plan: MergePlan, module: str) -> torch.Tensor:
    """Our merged update of one module, trimmed by itself as peft does."""
    update = merge_experts({name: {module: one[module]} for name, one in experts.items()}, plan)[module]
    return (update.b @ update.a if isinstance(update, Factors) else whole(update)).double()


@pytest.mark.parametrize(
    ("method", "weights", "density", "plan"),
    [
        ("svd", [0.3, -0.9], None, MergePlan("task-arithmetic", {NAMES[0]: 0.3, NAMES[1]: -0.9})),
        ("magnitude_prune_svd", [0.3, 0.9], 0.25, MergePlan("magnitude", {NAMES[0]: 0.3, NAMES[1]: 0.9}, density=0.25)),
        ("ties_svd", [1.0, 1.0], 0.25, MergePlan("ties", density=0.25)),
        ("ties_svd", [0.7, 0.7], 0.25, MergePlan("ties", density=0.25, scale=0.7)),
    ],
)  # fmt: skip
def test_where_the_definitions_agree_so_do_the_merges(
    library: SmallLibrary,
    experts: Experts,
    method: str,
    weights: list[float],
    density: float | None,
    plan: MergePlan,
) -> None:
    found = theirs(library, method, weights, density)

    for module, matrix in found.items():
        torch.testing.assert_close(ours(experts, plan, module), matrix, atol=2e-5, rtol=1e-3)


def test_peft_counts_voters_where_we_weigh_them(library: SmallLibrary, experts: Experts) -> None:
    """Unequal weights: peft elects by unweighted sums and divides weighted ones by a number of experts."""
    found = theirs(library, "ties_svd", [1.0, 0.0], 0.25)
    module = next(iter(found))

    alone = ours({NAMES[0]: experts[NAMES[0]]}, MergePlan("ties", density=0.25), module)
    mine = ours(experts, MergePlan("ties", {NAMES[0]: 1.0, NAMES[1]: 0.0}, density=0.25), module)

    assert torch.equal(mine, alone)
    assert float(torch.linalg.matrix_norm(found[module] - alone) / torch.linalg.matrix_norm(alone)) > 0.1


def test_peft_draws_from_the_global_source_of_chance(library: SmallLibrary, experts: Experts) -> None:
    """Two merges of the same adapters by peft's DARE are two models; one seed gives one of ours."""
    one, other = (theirs(library, "dare_ties_svd", [1.0, 1.0], 0.5) for _ in range(2))
    module = next(iter(one))
    plan = MergePlan("dare-ties", density=0.5, seed=3)

    assert not torch.allclose(one[module], other[module], atol=1e-3)
    assert torch.equal(ours(experts, plan, module), ours(experts, plan, module))


def test_averaging_factors_is_another_thing(library: SmallLibrary, experts: Experts) -> None:
    """peft's `linear` needs equal ranks, so here it meets an adapter and its own negative written differently."""
    one = experts[NAMES[0]]
    first = next(iter(one))
    factors = one[first]
    refactored = Factors(-factors.a, -factors.b, factors.sigma)

    mean_of_factors = (factors.b + refactored.b) @ (factors.a + refactored.a) / 4

    assert not mean_of_factors.any()
    same = merge_experts({"x": {first: factors}, "y": {first: refactored}})[first]
    assert isinstance(same, Factors)
    torch.testing.assert_close(same.b @ same.a, factors.b @ factors.a, atol=1e-5, rtol=1e-4)
