"""General knowledge is subtracted exactly, by one shared term, and given back bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from routing import general as knowledge
from routing import remainders
from routing.composed import ComposedModel, compose
from routing.digests import digest_of
from routing.errors import BadRouting, UnknownExpert
from routing.general import bare_differences, differences
from routing.index import RoutingPolicy
from routing.merge import Experts, mean_update
from routing.neutral import neutral_tokens
from routing.pack import REMEMBERED, ModulePack, Pack
from routing.remainders import Alike, Stack
from routing.routers import FROM_WEIGHTS
from routing.routes import Routing, route, routing_of, within_reach
from routing.turns import Asker, Left, Turns
from tests.routing.kinds import factors_of, llama_kinds
from tests.routing.libraries import TEXT, SmallLibrary, llama_library

GENERAL = "bob/wide"  # touches every module
OTHERS = ("ada/plain", "cy/attention", "di/patterned", "eve/late")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("general"))


@pytest.fixture(scope="module")
def experts(library: SmallLibrary) -> Experts:
    return library.experts()


@pytest.fixture(scope="module")
def composed(library: SmallLibrary, experts: Experts) -> ComposedModel:
    base = library.base()
    return compose(base, experts, neutral=neutral_tokens(base, sequences=4, length=16))


def less(experts: Experts, general: Sequence[str], amount: float) -> Experts:
    """The reference: experts that really are what is left of the others."""
    found: dict[str, dict[str, object]] = {}
    for name, expert in experts.items():
        if name in general:
            continue
        found[name] = {}
        for module, factors in expert.items():
            knowledge = [experts[one][module] for one in general if module in experts[one]]
            shares = [-amount / len(general)] * len(knowledge)
            found[name][module] = mean_update([factors, *knowledge], [1.0, *shares])
    return found  # type: ignore[return-value]


def bytes_of(pack: Pack) -> str:
    tensors = [
        tensor
        for module in pack.modules.values()
        for tensor in (
            module.a,
            module.b,
            module.vectors.prototypes,
            *(m.mean for m in module.moments.values()),
        )
    ]
    return digest_of(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors))


@pytest.mark.parametrize("general", [(GENERAL,), (GENERAL, "eve/late")])
@pytest.mark.parametrize("router", [*sorted(FROM_WEIGHTS - {"evidence"}), "uniform"])
def test_a_routed_answer_is_that_of_the_differences(
    library: SmallLibrary, experts: Experts, composed: ComposedModel, router: str, general: tuple[str, ...]
) -> None:
    calibrated = router == "delta-norm"
    plain = RoutingPolicy(router, top_k=2, calibrated=calibrated)
    neutral = composed.pack.text
    reference = compose(library.base(), less(experts, general, 0.7), plain, neutral=neutral)

    found = composed.logits(
        TEXT, Routing(router, top_k=2, calibrated=calibrated, general=general, subtract=0.7)
    )

    torch.testing.assert_close(found, reference.logits(TEXT), atol=3e-4, rtol=3e-4)


def test_nothing_subtracted_is_no_subtraction_bit_by_bit(composed: ComposedModel) -> None:
    none = composed.logits(TEXT, Routing("arrow", top_k=2, experts=OTHERS))

    zero = composed.logits(TEXT, Routing("arrow", top_k=2, general=(GENERAL,), subtract=0.0))

    assert torch.equal(zero, none)
    assert torch.equal(
        composed.logits(TEXT, Routing("arrow", top_k=2, subtract=0.8)),
        composed.logits(TEXT, Routing("arrow", top_k=2)),
    )


def test_the_packed_experts_stay_as_they_are_and_serve_every_amount(composed: ComposedModel) -> None:
    before, plain = bytes_of(composed.pack), composed.logits(TEXT)

    half, one = (
        composed.logits(TEXT, Routing("two-stage", top_k=2, general=(GENERAL,), subtract=amount))
        for amount in (0.5, 1.0)
    )

    assert not torch.allclose(half, one, atol=1e-2)
    assert bytes_of(composed.pack) == before
    assert torch.equal(composed.logits(TEXT), plain)


def test_a_token_that_abstains_is_less_by_nothing(composed: ComposedModel) -> None:
    routing = Routing("arrow", top_k=2, general=(GENERAL,), subtract=1.0, abstain=1e6)

    assert torch.equal(composed.logits(TEXT, routing), composed.base_logits(TEXT))


def test_all_of_an_expert_less_itself_is_the_plain_base(library: SmallLibrary, experts: Experts) -> None:
    twins = {"a/one": experts[GENERAL], "b/same": experts[GENERAL]}
    model = compose(library.base(), twins)

    for router in ("uniform", "arrow", "delta-norm"):
        found = model.logits(TEXT, Routing(router, top_k=1, general=("a/one",), subtract=1.0))
        torch.testing.assert_close(found, model.base_logits(TEXT), atol=1e-4, rtol=1e-4)


def test_general_experts_speak_only_where_they_are_named(composed: ComposedModel) -> None:
    unnamed = composed.generate(TEXT, max_tokens=2, routing=Routing("uniform", 1, general=(GENERAL,)))
    named = composed.generate(
        TEXT,
        max_tokens=2,
        routing=Routing("uniform", 1, experts=(GENERAL,), general=(GENERAL,), subtract=0.5),
    )

    assert set(unnamed.shares) == set(OTHERS)
    assert set(named.shares) == {GENERAL}


def test_a_prompt_judged_as_a_whole_hears_no_general_expert(composed: ComposedModel) -> None:
    routing = Routing("arrow", top_k=2, shortlist=4, general=(GENERAL,), subtract=0.5)

    assert GENERAL not in composed.generate(TEXT, max_tokens=2, routing=routing).shares


def test_token_by_token_is_as_in_one_pass(composed: ComposedModel) -> None:
    routing = Routing("arrow", top_k=2, general=(GENERAL,), subtract=0.5)
    answer = composed.generate(TEXT, max_tokens=5, routing=routing)

    whole = composed.logits([*composed.tokens(TEXT), *(token.token for token in answer.tokens)], routing)

    expected = [int(row.argmax()) for row in whole[len(composed.tokens(TEXT)) - 1 : -1]]
    assert [token.token for token in answer.tokens] == expected


def test_one_expert_alone_is_all_that_it_is() -> None:
    policy = RoutingPolicy(general=(GENERAL,), subtract=0.5)

    alone = routing_of(policy, router="single", experts=("ada/plain",))
    less_alone = routing_of(policy, router="single", experts=("ada/plain",), subtract=0.3)

    assert (alone.subtract, less_alone.subtract) == (0.0, 0.3)
    assert routing_of(policy).subtract == 0.5


def test_who_left_the_library_has_nothing_to_subtract(composed: ComposedModel) -> None:
    policy = RoutingPolicy(general=("zoe/gone", GENERAL), subtract=0.5)

    assert within_reach(policy, composed.pack).general == (GENERAL,)


def test_differences_are_worked_out_once_for_each_amount(composed: ComposedModel) -> None:
    first = differences(composed.pack, (GENERAL,), 0.125)

    assert differences(composed.pack, [GENERAL], 0.125) is first
    for amount in range(1, 2 * REMEMBERED):
        differences(composed.pack, (GENERAL,), float(amount))
    assert len(composed.pack.remembered) <= REMEMBERED
    assert differences(composed.pack, (GENERAL,), 0.125) is first  # which is asked for again and again


def test_another_amount_needs_nothing_of_what_does_not_depend_on_it(
    library: SmallLibrary, experts: Experts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, studied = compose(library.base(), experts).pack, list[int]()

    def counted(module: ModulePack, general: Stack) -> tuple[Alike, ...]:
        studied.append(len(module))
        return remainders.studied(module, general)

    monkeypatch.setattr(knowledge, "studied", counted)

    for amount in (0.5, 0.5001, 0.5002):
        route(pack, Routing("arrow", top_k=1, general=(GENERAL,), subtract=amount))
        route(pack, Routing("spectral", top_k=1, general=(GENERAL,), subtract=amount))

    assert len(studied) == len(pack.modules)


def test_prototypes_alone_are_those_of_the_whole_differences(composed: ComposedModel) -> None:
    whole = differences(composed.pack, (GENERAL,), 0.3).modules

    alone = bare_differences(composed.pack, (GENERAL,), 0.3).modules

    for name, module in whole.items():
        assert alone[name].bare
        assert alone[name].ranks == module.ranks
        torch.testing.assert_close(alone[name].vectors.prototypes, module.vectors.prototypes)


def test_before_its_prompt_is_read_nothing_is_worked_out_for_it(
    composed: ComposedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "_differences", lambda *_: pytest.fail("nobody looks at differences"))
    chosen = Routing("arrow", top_k=1, shortlist=1, general=(GENERAL,), subtract=0.62)

    unread = composed.queries.unread_route(chosen)

    assert unread.entries == composed.queries.route(chosen, composed.tokens(TEXT)).entries
    with pytest.raises(UnknownExpert, match="zoe/gone"):
        composed.queries.unread_route(replace(chosen, general=("zoe/gone",)))


@pytest.mark.parametrize("calibrated", [False, True])
def test_what_is_not_known_is_worked_out_in_its_askers_turn(
    composed: ComposedModel, *, calibrated: bool
) -> None:
    turns = Turns(1)
    busy, ada = Asker("bob", turns), Asker("ada", turns)
    known = Routing("arrow", top_k=1, calibrated=calibrated, general=(GENERAL,), subtract=0.63)
    composed.queries.routes(known, [[5, 6]], ada)

    with busy.turn(1):
        composed.queries.routes(known, [[5, 6]], ada)  # waits for nobody
        ada.leave()
        with pytest.raises(Left):
            composed.queries.routes(replace(known, subtract=0.64), [[5, 6]], ada)


def test_who_has_every_token_anyway_is_not_recognised_by_anything(
    composed: ComposedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "studied", lambda *_: pytest.fail("nobody looks at differences"))
    alone = Routing("arrow", top_k=1, experts=("ada/plain",), general=(GENERAL,), subtract=0.61)

    way = composed.queries.route(alone, [5, 6])

    single = replace(alone, router="single")
    assert torch.equal(composed.logits(TEXT, alone), composed.logits(TEXT, single))
    assert all(seat.judged is None and seat.shared is not None for seat in way.seats.values())


def test_what_cannot_be_done_is_refused(composed: ComposedModel) -> None:
    with pytest.raises(UnknownExpert, match="zoe/gone"):
        composed.logits(TEXT, Routing("arrow", top_k=1, general=("zoe/gone",), subtract=0.5))
    with pytest.raises(BadRouting, match="subtract"):
        Routing("arrow", top_k=1, general=(GENERAL,), subtract=-1.0)
    with pytest.raises(BadRouting, match="calibrated"):
        route(composed.pack, Routing("two-stage", top_k=1, general=(GENERAL,), subtract=0.77))


@pytest.mark.parametrize("amount", [0.3, 1.0])
def test_routers_see_the_spectrum_of_the_difference(
    composed: ComposedModel, experts: Experts, amount: float
) -> None:
    """Against a whole decomposition in float64."""
    seen = differences(composed.pack, (GENERAL,), amount).modules

    for name, module in seen.items():
        knowledge = experts[GENERAL][name]
        for row, member in enumerate(module.members):
            factors = experts[composed.pack.experts[member]][name]
            whole = factors.b.double() @ factors.a.double() - amount * (
                knowledge.b.double() @ knowledge.a.double()
            )
            _, sigma, vh = torch.linalg.svd(whole)
            rank = module.ranks[row]
            found = module.update(row)
            torch.testing.assert_close(found.b[:, 0].double(), sigma[:rank], atol=1e-6, rtol=1e-5)
            assert not bool((sigma[rank:] > 1e-5).any())
            if rank:
                assert float((found.prototype.double() @ vh[0]).abs()) == pytest.approx(1.0, abs=1e-5)


def test_an_expert_that_works_through_the_base_is_no_general_knowledge(tmp_path: Path) -> None:
    kinds = llama_kinds(tmp_path)
    base = kinds.base()
    model = compose(base, factors_of(kinds, base))

    found = model.logits(TEXT, Routing("arrow", top_k=2, general=("ada/lora",), subtract=0.5))

    assert not torch.allclose(found, model.logits(TEXT, Routing("arrow", top_k=2)), atol=1e-3)
    assert within_reach(RoutingPolicy(general=("ada/lora", "bob/dora")), model.pack).general == ("ada/lora",)
    with pytest.raises(BadRouting, match="bob/dora"):
        model.logits(TEXT, Routing("arrow", top_k=2, general=("bob/dora",), subtract=0.5))
