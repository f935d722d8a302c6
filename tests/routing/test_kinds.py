"""Experts of every kind, alone and together: each equals PEFT, and a mixture the sum of dense updates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from routing.adapter import Adapter, Dora, InputScale, LowRank, read_adapter
from routing.base import Base
from routing.checkpoint import Source
from routing.checks.behaviour import adapted
from routing.composed import ComposedModel, compose
from routing.dense import DenseUpdate, as_dense, whole
from routing.errors import BadCheckpoint, BadManifest, RoutingError, UpdateNotFinite
from routing.export import write_adapter, write_merged
from routing.factor_tensors import factor_tensors
from routing.factor_tensors import factors_of as factors_from
from routing.factors import Factors, canonical, cosine, dense, expert_factors, fingerprint, norm
from routing.index import RoutingPolicy, manifest_of
from routing.merge import DENSITIES, MergePlan, mean_expert, merge_experts
from routing.mixing import add_mixture, add_scaled
from routing.pack import Pack, pack_updates
from routing.packing import pack_experts
from routing.routers import Selection
from routing.scores import SCORES
from routing.similarity import similarity
from routing.weights import Layer, layers_of
from tests.routing.kinds import dense_update, factors_of, gpt2_kinds, llama_kinds
from tests.routing.libraries import TEXT, SmallLibrary
from tests.routing.published import PublishedLibrary

LIBRARIES = {"llama": llama_kinds, "gpt2": gpt2_kinds}
Experts = dict[str, dict[str, Factors]]


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return LIBRARIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def base(library: SmallLibrary) -> Base:
    return library.base()


@pytest.fixture(scope="module")
def experts(library: SmallLibrary, base: Base) -> Experts:
    return factors_of(library, base)


@pytest.fixture(scope="module")
def model(library: SmallLibrary, experts: Experts) -> ComposedModel:
    return compose(library.base(), experts, RoutingPolicy(top_k=2))


@pytest.fixture(scope="module")
def pack(base: Base, experts: Experts) -> Pack:
    return pack_experts(experts, base.spec, device=torch.device("cpu"), dtype=torch.float32)


def test_a_library_of_one_answers_as_peft_does(library: SmallLibrary, base: Base, experts: Experts) -> None:
    for name, factors in experts.items():
        alone = compose(base, {name: factors}, RoutingPolicy(top_k=1))

        torch.testing.assert_close(alone.logits(TEXT), library.peft_logits(name), atol=1e-5, rtol=1e-5)


def test_a_single_expert_of_many_answers_as_peft_does(library: SmallLibrary, model: ComposedModel) -> None:
    for name in model.experts:
        forced = model.logits(TEXT, model.routing(router="single", experts=[name]))

        torch.testing.assert_close(forced, library.peft_logits(name), atol=1e-5, rtol=1e-5)


def test_the_behaviour_check_runs_every_kind_as_peft_does(library: SmallLibrary, base: Base) -> None:
    ids = torch.tensor([base.tokenizer(TEXT)["input_ids"]])
    for name, path in library.adapters.items():
        with adapted(base, read_adapter(path, base.spec)), torch.inference_mode():
            logits = base.model(ids).logits[0]

        torch.testing.assert_close(logits, library.peft_logits(name), atol=1e-5, rtol=1e-5)


def in_double(base: Base, module: str) -> tuple[Tensor, Tensor | None]:
    layer = layers_of(base)(module)
    return layer.weight.double(), None if layer.bias is None else layer.bias.double()


def mixed(base: Base, pack: Pack, module: str, hidden: Tensor, selection: Selection) -> Tensor:
    """The base's output with the mixture of the pack's experts, as the routed layer computes it."""
    layer, experts = layers_of(base)(module), pack.modules[module]
    output = functional.linear(hidden, layer.weight, layer.bias)
    if experts.scaled is not None:
        add_scaled(output, hidden, selection, experts.scaled, layer.weight)
    add_mixture(output, hidden, selection, experts)
    return output


@settings(max_examples=30)
@given(data=st.data(), tokens=st.integers(1, 40), seed=st.integers(0, 999))
def test_a_mixture_of_kinds_is_the_sum_of_their_dense_updates(
    library: SmallLibrary, base: Base, pack: Pack, data: st.DataObject, tokens: int, seed: int
) -> None:
    module = data.draw(st.sampled_from(sorted(pack.modules)))
    experts = pack.modules[module]
    top_k = data.draw(st.integers(1, len(experts)))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(tokens, len(experts), generator=generator).topk(top_k).indices
    selection = Selection(chosen, torch.randn(tokens, top_k, generator=generator))
    hidden = torch.randn(tokens, experts.a.shape[1], generator=generator)

    weight, bias = in_double(base, module)
    expected = functional.linear(hidden.double(), weight, bias)
    weights = torch.zeros(tokens, len(experts)).scatter(1, chosen, selection.weights).double()
    for row, member in enumerate(experts.members):
        change, shift = dense_update(library.adapters[pack.experts[member]], base, module, weight, bias)
        expected += weights[:, row : row + 1] * (hidden.double() @ change.T + shift)

    found = mixed(base, pack, module, hidden, selection)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


def test_what_an_expert_is_recognised_by_is_that_of_its_dense_update(
    library: SmallLibrary, base: Base, experts: Experts
) -> None:
    for name, factors in experts.items():
        for module, found in factors.items():
            weight, bias = in_double(base, module)
            change, _ = dense_update(library.adapters[name], base, module, weight, bias)
            _, sigma, vh = torch.linalg.svd(change)

            kept = len(found.leading.sigma)
            torch.testing.assert_close(found.leading.sigma.double(), sigma[:kept], atol=1e-6, rtol=1e-5)
            assert abs(float(found.leading.a[0].double() @ vh[0])) == pytest.approx(1.0, abs=1e-6)
            assert found.norm == pytest.approx(float(change.norm()), rel=1e-6)
            torch.testing.assert_close(dense(found, weight), change, atol=1e-6, rtol=1e-5)


def test_cosines_between_kinds_are_those_of_their_dense_updates(
    library: SmallLibrary, base: Base, experts: Experts
) -> None:
    whole = {}
    for name, factors in experts.items():
        parts = {}
        for module in base.spec.target_modules:
            weight, bias = in_double(base, module.name)
            parts[module.name] = dense_update(library.adapters[name], base, module.name, weight, bias)[0]
        whole[name] = torch.cat([part.flatten() for part in parts.values()])
        assert norm(factors) == pytest.approx(float(whole[name].norm()), rel=1e-6)

    together = similarity(experts, layers=layers_of(base))
    for one, factors in experts.items():
        for other, others in experts.items():
            row, column = together.places[one], together.places[other]
            expected = float(functional.cosine_similarity(whole[one], whole[other], dim=0))
            found = cosine(factors, others, layers_of(base))
            assert found == pytest.approx(expected, abs=1e-6)
            assert float(together.cosines[row, column]) == pytest.approx(expected, abs=1e-6)
            if one != other:
                continue
            assert float(fingerprint(factors) @ fingerprint(others)) == pytest.approx(1.0, abs=1e-5)


def test_what_needs_the_bases_weight_says_so(library: SmallLibrary, base: Base, experts: Experts) -> None:
    adapter = read_adapter(library.adapters["cy/ia3"], base.spec)

    with pytest.raises(RoutingError, match="works through the base's weight"):
        expert_factors(adapter)
    with pytest.raises(RoutingError, match="needs the base's weight"):
        cosine(experts["ada/lora"], experts["cy/ia3"])
    with pytest.raises(RoutingError, match="give layers"):
        similarity(experts)
    with pytest.raises(RoutingError, match=r"bob/dora, .*: entries of a DoRA .* need the base's weight"):
        merge_experts({"bob/dora": experts["bob/dora"]}, MergePlan("ties"))


def test_scales_of_one_change_nothing_and_are_left_out(base: Base) -> None:
    module = base.spec.target_modules[0]
    ones = Adapter({module.name: InputScale(torch.ones(module.d_in))})

    assert expert_factors(ones, layers_of(base)) == {}


def test_a_store_gives_back_every_part_of_every_kind(
    tmp_path: Path, library: SmallLibrary, base: Base, experts: Experts
) -> None:
    published = PublishedLibrary(tmp_path, replace(library, adapters={}))
    for name, factors in experts.items():
        entry = published.keep(name, factors)
        found = published.store.read_factors(entry)

        assert set(found) == set(factors)
        again = published.store.put_expert(published.store.read_vectors(entry), found)
        assert (again.vectors, again.factors) == (entry.vectors, entry.factors)
        torch.testing.assert_close(dense_of(found, base), dense_of(factors, base))


def test_a_stored_expert_that_lacks_a_part_is_refused(experts: Experts) -> None:
    tensors = factor_tensors(experts["cy/ia3"])
    lacking = {name: tensor for name, tensor in tensors.items() if not name.endswith(".norm")}

    with pytest.raises(BadManifest, match="norm"):
        factors_from(lacking)


def dense_of(factors: dict[str, Factors], base: Base) -> dict[str, Tensor]:
    return {name: dense(module, layers_of(base)(name).weight) for name, module in factors.items()}


def test_a_pack_hands_its_members_on_whole(pack: Pack) -> None:
    """As a later version takes over what has not changed."""
    for module in pack.modules.values():
        for row in range(len(module)):
            update = module.update(row)
            scaled = module.scaled is not None and row in module.scaled.members.tolist()
            assert (update.scaled is not None) == scaled
    again = pack_updates(
        [
            {
                name: module.update(module.rows_by_member[place])
                for name, module in pack.modules.items()
                if place in module.rows_by_member
            }
            for place in range(len(pack.experts))
        ]
    )
    hidden = torch.randn(3, 32)
    for name, module in pack.modules.items():
        if module.a.shape[1] != hidden.shape[1]:
            continue
        for kind in ("arrow", "subspace", "delta-norm"):
            assert torch.equal(SCORES[kind](hidden, module), SCORES[kind](hidden, again[name]))


def test_a_row_without_a_length_is_refused() -> None:
    update = Dora(LowRank(torch.ones(2, 4), torch.zeros(3, 2), 1.0), torch.ones(3))

    with pytest.raises(UpdateNotFinite, match="not finite"):
        expert_factors(Adapter({"m": update}), lambda _name: Layer(torch.zeros(3, 4), None))


def test_merged_weights_are_the_mean_of_all_kinds(
    tmp_path: Path, library: SmallLibrary, base: Base, experts: Experts, model: ComposedModel
) -> None:
    published = PublishedLibrary(tmp_path / "store", replace(library, adapters={}))
    entries = [published.keep(name, factors) for name, factors in experts.items()]
    source = Source(published.store, manifest_of(base.spec.digest, entries), base.spec, published.base)

    write_merged(tmp_path / "merged", source)

    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.inference_mode():
        logits = merged(torch.tensor([model.tokens(TEXT)])).logits[0]
    uniform = model.logits(TEXT, model.routing(router="uniform"))
    torch.testing.assert_close(logits, uniform, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", sorted(DENSITIES))
def test_entries_of_every_kind_are_merged_as_if_each_were_a_lora_of_full_rank(
    library: SmallLibrary, base: Base, experts: Experts, method: str
) -> None:
    layers, plan = layers_of(base), MergePlan(method, seed=3)
    if any(layers(module.name).bias is not None for module in base.spec.target_modules):
        with pytest.raises(RoutingError, match=r"cy/ia3, .*scales this layer's bias"):
            merge_experts(experts, plan, layers=layers)
        experts = {name: one for name, one in experts.items() if "ia3" not in name}
    full = {
        name: {module: full_rank(one[module], layers(module)) for module in one}
        for name, one in experts.items()
    }

    found = merge_experts(experts, plan, layers=layers)

    for module, expected in merge_experts(full, plan).items():
        ours, theirs = (entries(update) for update in (found[module], expected))
        close = torch.isclose(ours, theirs, atol=1e-5, rtol=1e-4)
        assert int((~close).sum()) <= 1  # an entry within rounding of a threshold may fall on its other side


def full_rank(factors: Factors, layer: Layer) -> Factors:
    """A LoRA that does what the expert does to the weight."""
    change = dense(factors, layer.weight)
    return canonical(LowRank(torch.eye(change.shape[1]), change.float(), 1.0))


def entries(update: Factors | DenseUpdate) -> Tensor:
    return whole(as_dense(update) if isinstance(update, Factors) else update)


def test_one_lora_of_all_kinds_is_the_best_of_its_rank_and_says_what_it_loses(
    tmp_path: Path, library: SmallLibrary, base: Base, experts: Experts, model: ComposedModel
) -> None:
    published = PublishedLibrary(tmp_path / "store", replace(library, adapters={}))
    entries = [published.keep(name, factors) for name, factors in experts.items()]
    source = Source(published.store, manifest_of(base.spec.digest, entries), base.spec, published.base)
    if any(layers_of(base)(module.name).bias is not None for module in base.spec.target_modules):
        with pytest.raises(BadCheckpoint, match="also scales the bias"):
            write_adapter(tmp_path / "adapter", source, rank=4)
        return

    write_adapter(tmp_path / "whole", source, rank=64)
    write_adapter(tmp_path / "small", source, rank=2)

    mean = mean_expert(list(experts.values()), [module.name for module in base.spec.target_modules])
    written = expert_factors(read_adapter(tmp_path / "small", base.spec))
    lost = json.loads((tmp_path / "small" / "fletch.json").read_text())["lost_energy"]
    for name, factors in mean.items():
        sigma = torch.linalg.svdvals(dense(factors, layers_of(base)(name).weight))
        torch.testing.assert_close(written[name].sigma.double(), sigma[:2], atol=1e-6, rtol=1e-5)
        expected = float(sigma[2:].square().sum() / sigma.square().sum())
        assert lost[name] == pytest.approx(expected, abs=1e-6)
    alone = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(library.folder), tmp_path / "whole"
    )
    with torch.inference_mode():
        logits = alone.eval()(torch.tensor([model.tokens(TEXT)])).logits[0]
    uniform = model.logits(TEXT, model.routing(router="uniform"))
    torch.testing.assert_close(logits, uniform, atol=1e-4, rtol=1e-4)
