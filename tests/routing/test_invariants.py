"""What must hold of any routing among adapters, whatever the router: one test for each sentence of the list.

Two sentences are proven elsewhere: that merges equal the dense reference (test_merge.py, test_merge_methods.py),
and what subtracting general knowledge leaves alone, beside the merges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.adapter import LowRank
from routing.composed import ComposedModel, compose
from routing.factors import Factors, canonical
from routing.index import RoutingPolicy, manifest_of
from routing.mixing import add_mixture
from routing.notebook import read_experts
from routing.pack import ModulePack, Moments, Update, pack_updates, standardised
from routing.packing import load_pack
from routing.routers import QUERY_ROUTERS, ROUTERS, SHORT, Selection, Terms
from routing.routes import Routing, route
from routing.scores import SCORES
from tests.routing.libraries import TEXT, SmallLibrary, llama_library
from tests.routing.published import PublishedLibrary

D_IN, D_OUT, TOKENS = 12, 9, 7
TOKEN_ROUTERS = sorted(set(ROUTERS) - QUERY_ROUTERS - {"single"})  # `single` is `uniform` of one expert
NEUTRAL = torch.arange(60, dtype=torch.int32).view(4, 15)
each_router = pytest.mark.parametrize("router", TOKEN_ROUTERS)
libraries_of = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def low_rank(rank: int, seed: int) -> LowRank:
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, D_IN, generator=draw), torch.randn(D_OUT, rank, generator=draw)
    return LowRank(a, b, 0.5)


def module_of(updates: list[LowRank], *, gated: bool = True) -> ModulePack:
    """The updates as one module of a pack, with gates made from the expert itself, calibrated on noise."""
    found = []
    for update in updates:
        factors = canonical(update)
        gate = standardised(factors.a.square().sum(0)) if gated else None
        found.append({"layer": Update(factors.a[0], factors.a, factors.b.T.contiguous(), gate)})
    module = pack_updates(found)["layer"]
    neutral = torch.randn(50, D_IN, generator=torch.Generator().manual_seed(99))
    moments = {}
    for kind, score in SCORES.items():
        scores = score(neutral, module)
        moments[kind] = Moments(scores.mean(0), scores.std(0, correction=0))
    return replace(module, moments=moments)


def hidden(seed: int = 1) -> torch.Tensor:
    return torch.randn(TOKENS, D_IN, generator=torch.Generator().manual_seed(seed))


def terms(module: ModulePack, top_k: int, **more: object) -> Terms:
    return Terms(top_k, 1.0, len(module), **more)  # type: ignore[arg-type]


def mixture(router: str, module: ModulePack, top_k: int, **more: object) -> torch.Tensor:
    """What the module adds to the base's output."""
    output = torch.zeros(TOKENS, D_OUT)
    chosen = ROUTERS[router](hidden(), module, terms(module, top_k, **more))
    add_mixture(output, hidden(), chosen, module)
    return output


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def experts(library: SmallLibrary) -> dict[str, dict[str, Factors]]:
    return library.experts()


@pytest.fixture(scope="module")
def model(library: SmallLibrary, experts: dict[str, dict[str, Factors]]) -> ComposedModel:
    return compose(library.base(), experts, RoutingPolicy(top_k=2), neutral=NEUTRAL)


# ---------------------------------------------------------------- who is written how, and in which order


@each_router
def test_one_expert_equals_plain_peft(router: str, library: SmallLibrary) -> None:
    """E=1, k=1: logits equal plain PEFT LoRA to fp32 tolerance."""
    name = "bob/wide"
    gates = {name: {module: factors.a[0] for module, factors in library.experts()[name].items()}}
    alone = compose(library.base(), {name: library.experts()[name]}, gates=gates, neutral=NEUTRAL)

    said = alone.logits(TEXT, Routing(router, top_k=1))

    torch.testing.assert_close(said, library.peft_logits(name), atol=1e-5, rtol=1e-5)


@each_router
@given(ranks=libraries_of, seed=st.integers(0, 99), top_k=st.integers(1, 6))
@settings(max_examples=8)
def test_order_sign_and_factoring_change_nothing(
    router: str, ranks: list[int], seed: int, top_k: int
) -> None:
    """Order of adapters, sign of (A, B), and A -> M A, B -> B M^-1 change nothing."""
    updates = [low_rank(rank, seed + place) for place, rank in enumerate(ranks)]
    turned = []
    for update in reversed(updates):
        noise = torch.randn(update.rank, update.rank, generator=torch.Generator().manual_seed(seed))
        m = torch.linalg.qr(noise).Q.double() * -3.0
        a, b = m @ update.a.double(), update.b.double() @ torch.linalg.inv(m)
        turned.append(LowRank(a.float(), b.float(), update.scaling))

    torch.testing.assert_close(
        mixture(router, module_of(turned), top_k),
        mixture(router, module_of(updates), top_k),
        atol=2e-3,
        rtol=2e-3,
    )


@each_router
@given(ranks=libraries_of, padding=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_padding_the_rank_changes_nothing(router: str, ranks: list[int], padding: int, seed: int) -> None:
    """Zero-padding the rank changes nothing, also where null directions of A are not zero."""
    updates = [low_rank(rank, seed + place) for place, rank in enumerate(ranks)]
    padded = [
        LowRank(
            torch.cat([update.a, low_rank(padding, seed).a]),
            torch.nn.functional.pad(update.b, (0, padding)),
            update.scaling,
        )
        for update in updates
    ]

    torch.testing.assert_close(
        mixture(router, module_of(padded), 2), mixture(router, module_of(updates), 2), atol=1e-3, rtol=1e-3
    )


@each_router
@given(ranks=st.lists(st.integers(1, 5), min_size=1, max_size=SHORT // 2), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_copies_share_their_experts_weight(router: str, ranks: list[int], seed: int) -> None:
    """Duplicate adapter: mixture unchanged when weights are shared between copies (as many more are chosen).

    For `two-stage` as long as its first list has room for the copies.
    """
    updates = [low_rank(rank, seed + place) for place, rank in enumerate(ranks)]
    once, twice = module_of(updates), module_of([update for update in updates for _ in range(2)])

    torch.testing.assert_close(
        mixture(router, twice, top_k=4), mixture(router, once, top_k=2), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("router", [name for name in TOKEN_ROUTERS if name != "uniform"])
@given(loudness=st.floats(0.05, 20.0), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_loudness_scales_what_an_expert_says_and_not_whether_it_speaks(
    router: str, loudness: float, seed: int
) -> None:
    """Scaling an adapter's dW by c leaves calibrated selection unchanged and scales its contribution by c."""
    updates = [low_rank(rank, seed + rank) for rank in (2, 4, 3)]
    louder = [replace(updates[0], scaling=updates[0].scaling * loudness), *updates[1:]]
    before, after = module_of(updates), module_of(louder)
    chosen = [
        ROUTERS[router](hidden(), module, terms(module, 2, calibrated=True)) for module in (before, after)
    ]

    assert torch.equal(chosen[0].experts, chosen[1].experts)
    torch.testing.assert_close(chosen[0].weights, chosen[1].weights, atol=1e-3, rtol=1e-3)
    only = Selection(torch.zeros(TOKENS, 1, dtype=torch.int64), torch.ones(TOKENS, 1))
    quiet, loud = torch.zeros(TOKENS, D_OUT), torch.zeros(TOKENS, D_OUT)
    add_mixture(quiet, hidden(), only, before)
    add_mixture(loud, hidden(), only, after)
    torch.testing.assert_close(loud, loudness * quiet, atol=1e-3, rtol=1e-3)


# ---------------------------------------------------------------- passes through the whole model


@each_router
def test_decoding_equals_prefill(router: str, model: ComposedModel) -> None:
    """Prefill in one pass = token-by-token decoding with cache, as long as the index version is fixed."""
    way, tokens, cache = (
        route(model.pack, Routing(router, top_k=2)),
        model.tokens(TEXT),
        model.routed.new_cache(),
    )

    one_by_one = [model.routed.last_logits(torch.tensor([[t]]), route=way, cache=cache)[0, 0] for t in tokens]

    whole = model.routed.logits(torch.tensor([tokens]), route=way)[0]
    torch.testing.assert_close(torch.stack(one_by_one), whole, atol=2e-5, rtol=2e-5)


@each_router
def test_padding_tells_nobody(router: str, model: ComposedModel) -> None:
    """Batch = single; padding tokens never influence others."""
    way = route(model.pack, Routing(router, top_k=2))
    long, short = model.tokens(TEXT), model.tokens("The mill is closed.")
    rest = len(long) - len(short)
    ids = torch.tensor([long, (*short, *[1] * rest)])
    mask = torch.tensor([[1] * len(long), [1] * len(short) + [0] * rest])

    batch = model.routed.logits(ids, route=way, attention_mask=mask)

    alone = model.routed.logits(torch.tensor([short]), route=way)[0]
    torch.testing.assert_close(batch[1, : len(short)], alone, atol=2e-5, rtol=2e-5)


@each_router
def test_more_than_there_are_is_all_and_the_absent_get_nothing(router: str, model: ComposedModel) -> None:
    """top_k > E is clamped; an adapter absent from a module gets no mass there."""
    way = route(model.pack, Routing(router, top_k=1000))
    chosen: dict[str, Selection] = {}
    model.routed.logits(
        torch.tensor([model.tokens(TEXT)]),
        route=way,
        witness=lambda _seat, name, found: chosen.update({name: found}),
    )

    assert chosen.keys() == model.pack.modules.keys()
    for name, found in chosen.items():
        module = model.pack.modules[name]
        assert found.experts.shape[1] <= len(module)
        assert set(found.experts.flatten().tolist()) <= set(range(len(module)))
        assert float(found.weights.sum(-1).max()) <= 1 + 1e-5


# ---------------------------------------------------------------- versions


def test_a_name_that_comes_back_brings_its_own_prototype(library: SmallLibrary, tmp_path: Path) -> None:
    """Delete + re-add under the same name never reuses the old prototype."""
    published, cpu = PublishedLibrary(tmp_path, library), torch.device("cpu")

    def pack(*entries: str, previous: object = None):  # type: ignore[no-untyped-def]
        members = [published.entries[entry] for entry in entries]
        named = [replace(member, adapter="the/same") for member in members]
        manifest = manifest_of(published.spec.digest, named)
        return load_pack(
            published.store,
            manifest,
            published.spec,
            device=cpu,
            dtype=torch.float32,
            previous=previous,  # type: ignore[arg-type]
        )

    old = pack("ada/plain")
    gone = pack(previous=old)
    back = pack("bob/wide", previous=gone)
    at_once = pack("bob/wide", previous=old)

    for name, module in pack("bob/wide").modules.items():
        for found in (back, at_once):
            assert torch.equal(found.modules[name].vectors.prototypes, module.vectors.prototypes)
            assert not torch.equal(
                found.modules[name].vectors.prototypes, old.modules[name].vectors.prototypes
            )


@each_router
def test_an_expert_that_left_leaves_no_trace(
    router: str, library: SmallLibrary, model: ComposedModel
) -> None:
    """Removing adapter X from version N+1 gives the same logits as an index built without X."""
    rest = {name: factors for name, factors in library.experts().items() if name != "ada/plain"}
    never = compose(library.base(), rest, neutral=NEUTRAL)

    left_out = model.logits(TEXT, Routing(router, top_k=2, experts=tuple(rest)))

    torch.testing.assert_close(left_out, never.logits(TEXT, Routing(router, top_k=2)), atol=2e-5, rtol=2e-5)


def test_serving_leaves_uploaded_files_alone(library: SmallLibrary) -> None:
    """Uploaded files' hashes are unchanged after serving, by every router."""
    before, base = digests(library.adapters), library.base()
    composed = compose(base, read_experts(library.adapters, base), neutral=NEUTRAL)

    for router in TOKEN_ROUTERS:
        composed.generate(TEXT, max_tokens=2, routing=Routing(router, top_k=2))

    assert digests(library.adapters) == before


def digests(folders: Mapping[str, Path]) -> dict[Path, str]:
    files = [path for folder in folders.values() for path in sorted(folder.iterdir())]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ---------------------------------------------------------------- every router against float64


def reference(router: str, x: torch.Tensor, module: ModulePack, top_k: int) -> torch.Tensor:
    """The mixture of one token from the dense updates, in float64, written from the definitions alone."""
    dense = [module.update(row).b.double().T @ module.update(row).a.double() for row in range(len(module))]
    directions = [torch.linalg.svd(update, full_matrices=False).Vh for update in dense]

    def z(kind: str, row: int, score: torch.Tensor) -> torch.Tensor:
        return (score - module.moments[kind].mean[row].double()) / module.moments[kind].deviation[
            row
        ].double()

    def standard(v: torch.Tensor) -> torch.Tensor:
        return (v - v.mean()) / v.std(correction=0)

    arrow = [(x @ vh[0]).abs() for vh in directions]
    spectral = [(vh[: module.ranks[row]] @ x).norm() for row, vh in enumerate(directions)]
    gate = [standard(x) @ standard(g.double()) / len(x) ** 0.5 for g in module.vectors.gates]
    rows = range(len(module))
    match router:
        case "uniform":
            return torch.stack([update @ x for update in dense]).mean(0)
        case "arrow":
            scores = arrow
        case "phatgoose":
            scores = gate
        case "spectral":
            scores = spectral
        case "delta-norm":
            scores = [(update @ x).norm() for update in dense]
        case "evidence":
            scores = [z("gate", row, gate[row]) for row in rows]
        case "two-stage":
            first = torch.stack([z("arrow", row, arrow[row]) for row in rows])
            listed = set(first.topk(min(SHORT, len(dense))).indices.tolist())
            second = [z("subspace", row, spectral[row]) for row in rows]
            scores = [score if row in listed else score - torch.inf for row, score in enumerate(second)]
        case _:
            raise AssertionError(f"{router} has no reference here: write one")
    best = torch.stack(scores).topk(min(top_k, len(dense)))
    return sum(
        weight * (dense[row] @ x)
        for weight, row in zip(best.values.softmax(0), best.indices.tolist(), strict=True)
    )


@each_router
@given(
    ranks=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    top_k=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=8)
def test_every_router_equals_its_definition_in_float64(
    router: str, ranks: list[int], top_k: int, seed: int
) -> None:
    """A side-by-side with a float64 reference for every router; a router that comes needs one."""
    module = module_of([low_rank(rank, seed + place) for place, rank in enumerate(ranks)])

    expected = torch.stack([reference(router, x, module, top_k) for x in hidden().double()])

    torch.testing.assert_close(mixture(router, module, top_k).double(), expected, atol=2e-3, rtol=2e-3)
