"""Composed models against their authorities: peft, and dense sums in float64."""

from __future__ import annotations

import pytest
import torch

from routing.base import Base
from routing.composed import GREEDY, ComposedModel, answer, compose
from routing.errors import BadRouting, UnknownExpert
from routing.factors import Factors
from routing.generation import Request
from routing.index import RoutingPolicy
from routing.layers import routed_by
from routing.routes import Routing, route
from routing.sampling import Sampling
from tests.routing.libraries import TEXT, SmallLibrary, gpt2_library, llama_library


@pytest.fixture(scope="module", params=[llama_library, gpt2_library], ids=["llama", "gpt2"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return request.param(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def experts(library: SmallLibrary) -> dict[str, dict[str, Factors]]:
    return library.experts()


@pytest.fixture(scope="module")
def model(library: SmallLibrary, experts: dict[str, dict[str, Factors]]) -> ComposedModel:
    return compose(library.base(), experts, RoutingPolicy(top_k=2))


def test_a_library_of_one_answers_as_peft_does(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]]
) -> None:
    for name, factors in experts.items():
        alone = compose(library.base(), {name: factors}, RoutingPolicy(top_k=1))

        torch.testing.assert_close(alone.logits(TEXT), library.peft_logits(name), atol=1e-5, rtol=1e-5)


def test_a_single_expert_of_many_answers_as_peft_does(library: SmallLibrary, model: ComposedModel) -> None:
    for name in model.experts:
        forced = model.logits(TEXT, model.routing(router="single", experts=[name]))

        torch.testing.assert_close(forced, library.peft_logits(name), atol=1e-5, rtol=1e-5)


def test_a_pack_of_several_differs_from_each_of_its_experts_and_from_the_base(model: ComposedModel) -> None:
    composed = model.logits(TEXT)

    assert not torch.allclose(composed, model.base_logits(TEXT), atol=1e-3)
    for name in model.experts:
        assert not torch.allclose(composed, model.logits(TEXT, model.routing(experts=[name])), atol=1e-3)


def test_without_a_route_the_wrapped_model_is_the_plain_base(
    library: SmallLibrary, model: ComposedModel
) -> None:
    base = library.base()
    ids = torch.tensor([model.tokens(TEXT)])

    with torch.no_grad():
        plain = base.model(ids).logits[0]

    assert torch.equal(model.base_logits(TEXT), plain)


def test_token_by_token_decoding_equals_one_pass(model: ComposedModel) -> None:
    tokens = model.tokens(TEXT)
    way = route(model.pack, model.routing())
    cache = model.routed.new_cache()

    one_by_one = [model.routed.last_logits(torch.tensor([[t]]), route=way, cache=cache)[0, 0] for t in tokens]

    torch.testing.assert_close(torch.stack(one_by_one), model.logits(TEXT), atol=1e-5, rtol=1e-5)


def test_a_batch_equals_its_rows_alone_and_padding_tells_nobody(model: ComposedModel) -> None:
    long, short = model.tokens(TEXT), model.tokens("The mill is closed.")
    padding = len(long) - len(short)
    ids = torch.tensor([long, (*short, *[1] * padding)])
    mask = torch.tensor([[1] * len(long), [1] * len(short) + [0] * padding])

    batch = model.routed.logits(ids, route=route(model.pack, model.routing()), attention_mask=mask)

    torch.testing.assert_close(batch[0], model.logits(long), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(batch[1, : len(short)], model.logits(short), atol=1e-5, rtol=1e-5)


def test_the_order_of_experts_changes_nothing(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]], model: ComposedModel
) -> None:
    backwards = {f"{9 - place}/{name}": experts[name] for place, name in enumerate(experts)}

    turned = compose(library.base(), backwards, RoutingPolicy(top_k=2))

    torch.testing.assert_close(turned.logits(TEXT), model.logits(TEXT), atol=1e-5, rtol=1e-5)


def test_the_sign_of_the_factors_changes_nothing(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]], model: ComposedModel
) -> None:
    turned = {
        name: {module: Factors(-f.a, -f.b, f.sigma) for module, f in factors.items()}
        for name, factors in experts.items()
    }

    other = compose(library.base(), turned, RoutingPolicy(top_k=2))

    torch.testing.assert_close(other.logits(TEXT), model.logits(TEXT), atol=1e-5, rtol=1e-5)


def test_more_experts_asked_for_than_there_are_is_all_of_them(model: ComposedModel) -> None:
    everyone = model.logits(TEXT, Routing("arrow", top_k=len(model.experts)))

    assert torch.equal(model.logits(TEXT, Routing("arrow", top_k=1000)), everyone)


def test_leaving_an_expert_out_equals_an_index_without_it(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]]
) -> None:
    """In float64: where a module has two experts left, all of them speak, and sums have another order."""
    policy, others = RoutingPolicy(top_k=2), {name: experts[name] for name in list(experts)[1:]}

    model, without = (compose(in_float64(library), some, policy) for some in (experts, others))

    torch.testing.assert_close(
        model.logits(TEXT, model.routing(experts=list(others))), without.logits(TEXT), atol=1e-5, rtol=1e-5
    )


def in_float64(library: SmallLibrary) -> Base:
    base = library.base()
    base.model.double()
    return base


def test_uniform_is_the_mean_of_all_updates_in_the_dense_weights(
    library: SmallLibrary, experts: dict[str, dict[str, Factors]], model: ComposedModel
) -> None:
    dense = library.base()
    for factors in experts.values():
        for name, module in factors.items():
            layer = dense.model.get_submodule(name)
            update = (module.b.double() @ module.a.double() / len(experts)).float()
            layer.weight.data += update if dense.spec.module(name).kind == "linear" else update.T

    with torch.no_grad():
        expected = dense.model(torch.tensor([model.tokens(TEXT)])).logits[0]

    torch.testing.assert_close(
        model.logits(TEXT, model.routing(router="uniform")), expected, atol=1e-4, rtol=1e-4
    )


def test_a_module_that_no_allowed_expert_touches_is_plain_base(model: ComposedModel) -> None:
    way = route(model.pack, model.routing(experts=["eve/late"]))

    assert way.seats
    assert not any(".0." in name for name in way.seats), "eve's adapter leaves layer 0 alone"


def test_equal_seeds_draw_equal_answers_and_others_differ(model: ComposedModel) -> None:
    def drawn(seed: int) -> str:
        return model.generate(TEXT, max_tokens=24, sampling=Sampling(seed=seed)).text

    assert drawn(3) == drawn(3)
    assert len({drawn(seed) for seed in range(6)}) > 1


def test_greedy_generation_takes_the_likeliest_token_of_each_prefix(model: ComposedModel) -> None:
    spoken = answer(
        model.routed,
        Request(model.tokens(TEXT), 8, route=route(model.pack, model.routing()), sampling=GREEDY),
    )

    prefix = list(model.tokens(TEXT))
    for token in spoken.tokens:
        assert int(model.logits(prefix)[-1].argmax()) == token.token
        prefix.append(token.token)


def test_the_trace_names_at_most_k_experts_per_token_and_module_with_weights_that_sum_to_one(
    model: ComposedModel,
) -> None:
    answered = model.generate(TEXT, max_tokens=3)

    assert set(answered.trace) == set(model.pack.modules)
    for trace in answered.trace.values():
        assert trace.experts.shape[1] <= 2
        torch.testing.assert_close(trace.weights.sum(-1), torch.ones(len(trace.weights)))
    assert sum(answered.shares.values()) == pytest.approx(1.0)


def test_a_name_or_a_router_that_does_not_exist_is_refused_by_name(model: ComposedModel) -> None:
    with pytest.raises(UnknownExpert, match="zoe/nobody"):
        model.logits(TEXT, model.routing(experts=["zoe/nobody"]))
    with pytest.raises(BadRouting, match="router: found oracle, expected one of arrow"):
        model.routing(router="oracle")


def test_two_versions_live_side_by_side_over_one_copy_of_the_base(
    model: ComposedModel, experts: dict[str, dict[str, Factors]]
) -> None:
    fewer = {name: experts[name] for name in list(experts)[:2]}
    before = model.logits(TEXT)

    other = compose(model.routed.base, fewer, RoutingPolicy(top_k=2))

    assert not torch.allclose(other.logits(TEXT), before)
    assert torch.equal(model.logits(TEXT), before)


def test_a_route_ends_with_its_block(model: ComposedModel) -> None:
    ids = torch.tensor([model.tokens(TEXT)])
    with routed_by(route(model.pack, model.routing())), torch.no_grad():
        inside = model.routed.base.model(ids).logits[0]
    with torch.no_grad():
        outside = model.routed.base.model(ids).logits[0]

    torch.testing.assert_close(inside, model.logits(TEXT))
    assert torch.equal(outside, model.base_logits(TEXT))
