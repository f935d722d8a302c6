"""Query routers: priors against references by hand, and what a prior does to a route."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from routing.base import Base
from routing.checkpoint import Source, load_checkpoint, write_routed
from routing.choosing import BETWEEN, NOBODY
from routing.classifier import train_classifier
from routing.composed import ComposedModel, compose
from routing.encoding import BaseEncoder, prompt_tokens
from routing.errors import BadRouting
from routing.index import RoutingPolicy, manifest_of
from routing.neutral import neutral_tokens
from routing.profiles import Profile, described, sample_of, spoken_name
from routing.retrieval import introduce, profile_of
from routing.routes import Routing, within_reach
from tests.routing.libraries import TEXT, SmallLibrary, llama_library
from tests.routing.published import PublishedLibrary

PROMPTS = {
    "ada/plain": ["The ferry leaves at nine.", "She counted 12 boats."],
    "bob/wide": ["Bread, cheese and two apples", "apples and bread and cheese", "cheese"],
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def base(library: SmallLibrary) -> Base:
    return library.base()


@pytest.fixture(scope="module")
def profiles(base: Base) -> dict[str, Profile]:
    encoder = BaseEncoder(base)
    return {name: profile_of(base, encoder, adapter=name, prompts=rows) for name, rows in PROMPTS.items()}


@pytest.fixture(scope="module")
def model(library: SmallLibrary, base: Base, profiles: dict[str, Profile]) -> ComposedModel:
    return compose(
        library.base(), library.experts(), profiles=profiles, neutral=neutral_tokens(base, length=24)
    )


def hidden_mean(base: Base, text: str) -> Tensor:
    """The mean hidden state of one prompt alone, in float64."""
    ids = torch.tensor([prompt_tokens(base, text)])
    with torch.no_grad():
        states = base.model(input_ids=ids, output_hidden_states=True).hidden_states
    return states[BaseEncoder(base).layer][0].double().mean(0)


def test_an_embedding_is_the_mean_hidden_state_whatever_else_is_in_the_batch(base: Base) -> None:
    texts = [TEXT, "gulls", "Bread, cheese and two apples were on the table."]

    found = BaseEncoder(base).encode([prompt_tokens(base, text) for text in texts])

    expected = torch.stack([hidden_mean(base, text) for text in texts])
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


def test_retrieval_is_the_best_cosine_of_standardised_embeddings_in_deviations_on_neutral_text(
    base: Base, model: ComposedModel, profiles: dict[str, Profile]
) -> None:
    found = model.prior(TEXT, "retrieval").experts

    neutral = BaseEncoder(base).encode(neutral_tokens(base, length=24).tolist()).double()
    centre, scale = neutral.mean(0), neutral.std(0, correction=0)

    def similarity(embedding: Tensor, name: str) -> Tensor:
        rows = profiles[name].prompts if name in profiles else hidden_mean(base, described(name, ""))[None]
        one, many = (embedding - centre) / scale, (rows.double() - centre) / scale
        return torch.atanh(torch.cosine_similarity(one[None], many).max())

    asked = hidden_mean(base, TEXT)
    for name, score in zip(model.experts, found.tolist(), strict=True):
        usual = torch.stack([similarity(text, name) for text in neutral])
        expected = (similarity(asked, name) - usual.mean()) / usual.std(correction=0)
        assert score == pytest.approx(float(expected), abs=2e-3, rel=2e-3)


def test_a_prompt_finds_the_expert_that_was_introduced_with_it(model: ComposedModel) -> None:
    for name, prompts in PROMPTS.items():
        for prompt in prompts:
            assert model.experts[int(model.prior(prompt, "retrieval").experts.argmax())] == name


def test_an_expert_without_samples_is_found_by_its_name(model: ComposedModel) -> None:
    nameless = [name for name in model.experts if name not in PROMPTS]

    for name in nameless:
        said = model.prior(spoken_name(name), "retrieval").experts
        assert model.experts[int(said.argmax())] == name


def test_the_order_of_sample_prompts_and_their_copies_change_nothing(base: Base) -> None:
    neutral = BaseEncoder(base).encode(neutral_tokens(base, sequences=8, length=12).tolist())
    one = profile_of(base, BaseEncoder(base), adapter="a/b", prompts=["one two", "three"])
    other = replace(one, prompts=one.prompts.flip(0).repeat(2, 1))

    asked = BaseEncoder(base).encode([prompt_tokens(base, TEXT)])

    found = [introduce([profile, one], neutral).similarities(asked) for profile in (one, other)]
    torch.testing.assert_close(found[0], found[1])


def test_embeddings_of_another_encoder_are_not_compared(library: SmallLibrary, base: Base) -> None:
    stranger = Profile("plain: boats", "folder:other", torch.ones(7), torch.ones(3, 7))
    name = next(iter(library.experts()))

    found = compose(
        base,
        library.experts(),
        profiles={name: stranger},
        neutral=neutral_tokens(base, sequences=8, length=12),
    )

    assert bool(found.prior(TEXT, "retrieval").experts.isfinite().all())


def test_a_long_list_of_prompts_is_sampled_evenly_and_without_copies() -> None:
    assert sample_of(["a", "b", "a"]) == ["a", "b"]
    many = sample_of([str(number) for number in range(1000)])
    assert len(many) == 128
    assert (many[0], many[-1]) == ("0", "999")


def test_a_query_router_answers_with_the_weighted_mean_of_its_best_experts(model: ComposedModel) -> None:
    scores = model.prior(TEXT, "retrieval").experts.double()
    best = scores.topk(2)
    chosen = dict(
        zip(
            (model.experts[place] for place in best.indices.tolist()),
            (best.values / 0.5).softmax(0).tolist(),
            strict=True,
        )
    )

    answered = model.generate(TEXT, max_tokens=2, routing=Routing("retrieval", 2, temperature=0.5))

    for module in answered.trace.values():
        for experts, weights in zip(module.experts.tolist(), module.weights.tolist(), strict=True):
            for place, weight in zip(experts, weights, strict=True):
                assert weight == pytest.approx(chosen[model.experts[place]], abs=1e-4)


def test_a_query_router_of_one_expert_answers_as_that_expert_alone(model: ComposedModel) -> None:
    best = model.experts[int(model.prior(TEXT, "retrieval").experts.argmax())]

    alone = model.logits(TEXT, model.routing(router="single", experts=[best]))

    torch.testing.assert_close(model.logits(TEXT, Routing("retrieval", 1)), alone)
    torch.testing.assert_close(model.logits(TEXT, Routing("arrow", 2, shortlist=1, prior="retrieval")), alone)


def test_a_prior_without_weight_changes_nothing_and_a_heavy_one_decides(model: ComposedModel) -> None:
    plain = Routing("arrow", 1, calibrated=True)
    best = model.experts[int(model.prior(TEXT, "retrieval").experts.argmax())]

    torch.testing.assert_close(
        model.logits(TEXT, replace(plain, prior="retrieval")), model.logits(TEXT, plain)
    )

    heavy = model.generate(TEXT, max_tokens=1, routing=replace(plain, prior="retrieval", prior_weight=1e4))
    place = model.experts.index(best)
    for name, module in heavy.trace.items():
        if place in model.pack.modules[name].members:
            assert set(module.experts.flatten().tolist()) == {place}


@pytest.mark.parametrize("router", ["arrow", "spectral", "evidence", "two-stage", "delta-norm"])
def test_the_prior_times_its_weight_is_added_to_every_tokens_score(model: ComposedModel, router: str) -> None:
    calibrated = router not in {"evidence", "two-stage"}
    log_prior = model.prior(TEXT, "evidence").experts.double().log_softmax(0)
    routing = Routing(router, len(model.experts), calibrated=calibrated)

    def log_weights(asked: Routing) -> dict[str, Tensor]:
        """By module, [tokens, experts]."""
        trace = model.generate(TEXT, max_tokens=1, routing=asked).trace
        return {
            name: torch.zeros(len(one.weights), len(model.experts)).scatter_(
                1, one.experts.long(), one.weights
            )
            for name, one in trace.items()
        }

    before, after = log_weights(routing), log_weights(replace(routing, prior_weight=0.7))

    first = next(iter(before))  # the plain base feeds the first module in either case
    members = list(model.pack.modules[first].members)
    by_hand = before[first][:, members].double().log() + 0.7 * log_prior[members]
    torch.testing.assert_close(after[first][:, members].double(), by_hand.softmax(-1), atol=1e-4, rtol=1e-3)


def test_a_prompt_that_is_nobodys_is_left_to_the_plain_base(model: ComposedModel) -> None:
    routing = Routing("arrow", 2, prior="retrieval", prior_abstain=True)
    said = model.prior("gulls gulls", "retrieval")

    told = replace(said, nobody=lambda: float(said.experts.max()) + 1.0)
    model.queries._said[None, "retrieval", model.tokens("gulls gulls")] = told

    torch.testing.assert_close(model.logits("gulls gulls", routing), model.base_logits("gulls gulls"))
    assert model.generate("gulls gulls", max_tokens=2, routing=routing).shares == {}


def test_few_neutral_texts_are_anybodys(model: ComposedModel, base: Base) -> None:
    for prior in ("evidence", "retrieval"):
        said = [model.prior(text, prior) for text in neutral_tokens(base, length=24).tolist()]
        above = sum(float(one.experts.max()) > one.nobody() for one in said)
        assert above <= 0.1 * len(said)


def test_only_named_experts_are_judged(model: ComposedModel) -> None:
    two = model.experts[1:3]

    answered = model.generate(TEXT, max_tokens=2, routing=Routing("retrieval", 5, experts=two))

    assert set(answered.shares) <= set(two)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("prior", {"prior": "horoscope"}),
        ("prior_weight", {"prior_weight": -1.0}),
        ("prior_weight", {"prior_weight": float("nan")}),
    ],
)
def test_a_prior_that_makes_no_sense_is_refused(field: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRouting, match=field):
        replace(Routing("arrow", 2), **wrong)


def test_a_routed_checkpoint_judges_prompts_as_the_library_does(
    library: SmallLibrary, base: Base, model: ComposedModel, profiles: dict[str, Profile], tmp_path: Path
) -> None:
    published = PublishedLibrary(tmp_path / "store", library)
    kept = {name: published.store.put_profile(profile) for name, profile in profiles.items()}
    entries = [
        replace(entry, profile=kept[name][0], profile_size=kept[name][1]) if name in kept else entry
        for name, entry in published.entries.items()
    ]
    manifest = manifest_of(
        published.spec.digest,
        entries,
        policy=RoutingPolicy(router="retrieval", top_k=2),
        calibration=published.store.put_neutral(neutral_tokens(base, length=24)),
    )

    write_routed(tmp_path / "home", Source(published.store, manifest, published.spec, published.base))
    reloaded = load_checkpoint(tmp_path / "home")

    torch.testing.assert_close(
        reloaded.prior(TEXT, "retrieval").experts,
        model.prior(TEXT, "retrieval").experts,
        atol=1e-4,
        rtol=1e-4,
    )
    here = model.logits(TEXT, Routing("retrieval", 2))
    torch.testing.assert_close(reloaded.logits(TEXT), here, atol=1e-4, rtol=1e-4)


def test_an_entry_without_a_profile_has_the_bytes_that_it_always_had(
    library: SmallLibrary, tmp_path: Path
) -> None:
    published = PublishedLibrary(tmp_path / "store", library)
    digest = published.store.put_manifest(published.manifest())

    page = next(iter(published.store.reachable(digest)))
    assert b"profile" not in published.store.objects.read(page)
    assert published.store.read_manifest(digest) == published.manifest()


def test_the_base_chooses_by_what_a_prompt_adds_to_a_descriptions_likelihood(
    base: Base, model: ComposedModel
) -> None:
    said = model.prior(TEXT, "lm")

    texts = [described(name, "") for name in model.experts] + [NOBODY]
    lengths, added = [], []
    for text in texts:
        ids = base.tokenizer(text)["input_ids"]
        lengths.append(len(ids))
        added.append(log_likelihood(base, TEXT + BETWEEN, ids) - log_likelihood(base, "<s>" + BETWEEN, ids))
    mean = sum(lengths) / len(lengths)
    by_hand = [one * mean / length for one, length in zip(added, lengths, strict=True)]
    torch.testing.assert_close(
        said.experts.double(), torch.tensor(by_hand[:-1], dtype=torch.float64), atol=1e-3, rtol=1e-3
    )
    assert said.nobody() == pytest.approx(by_hand[-1], abs=1e-3)


def log_likelihood(base: Base, before: str, ids: list[int]) -> float:
    """One text alone, token by token."""
    start = [token for part in before.partition(BETWEEN)[:2] for token in base.tokenizer(part)["input_ids"]]
    with torch.no_grad():
        logits = base.model(torch.tensor([[*start, *ids]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(start) + place - 1, token]) for place, token in enumerate(ids))


def test_a_prompt_that_fills_the_context_is_cut_from_its_beginning(model: ComposedModel) -> None:
    long = (model.tokens(TEXT) * 20)[: model.routed.base.spec.context]

    for prior in ("lm", "retrieval"):
        assert bool(model.prior(long, prior).experts.isfinite().all())


@pytest.fixture(scope="module")
def taught(model: ComposedModel, base: Base, profiles: dict[str, Profile]) -> ComposedModel:
    """The model with a classifier that knows two of its experts."""
    encoder, texts = BaseEncoder(base), [f"{place} boats in the bay" for place in range(8)]
    several = {
        "ada/plain": profile_of(base, encoder, adapter="ada/plain", prompts=texts),
        "bob/wide": profile_of(
            base, encoder, adapter="bob/wide", prompts=[f"apples {text[::-1]}" for text in texts]
        ),
    }
    neutral = encoder.encode(neutral_tokens(base, length=24).tolist())
    head, _report = train_classifier(several, neutral, encoder=encoder.name)
    pack = replace(model.pack, classifier=head, profiles=tuple(several.get(name) for name in model.experts))
    return ComposedModel(model.routed, pack, model.policy)


def test_the_classifier_gives_its_own_experts_their_probabilities(taught: ComposedModel) -> None:
    said = taught.prior("3 boats in the bay", "classifier")

    head = taught.pack.classifier
    assert head is not None
    embedding = BaseEncoder(taught.routed.base).encode([taught.tokens("3 boats in the bay")])
    by_hand = head.log_probabilities(embedding)[0]
    assert taught.experts[int(said.experts.argmax())] == "ada/plain"
    torch.testing.assert_close(said.experts[:2], by_hand[:2])


def test_experts_that_the_classifier_does_not_know_share_nobodys_part(taught: ComposedModel) -> None:
    for text in ("3 boats in the bay", TEXT, "late"):
        said = taught.prior(text, "classifier")

        whole = float(said.experts.double().exp().sum()) + math.exp(said.nobody())
        assert whole == pytest.approx(1.0, abs=1e-4)
        assert bool(said.experts.isfinite().all())


def test_without_a_classifier_the_policy_falls_back_and_a_request_is_refused(model: ComposedModel) -> None:
    for wanted in (Routing("classifier", 1), Routing("arrow", 1, prior="classifier", shortlist=1)):
        with pytest.raises(BadRouting, match="classifier"):
            model.logits(TEXT, wanted)

    policy = within_reach(RoutingPolicy(router="classifier", prior="classifier"), model.pack)
    assert (policy.router, policy.prior) == ("retrieval", "retrieval")


def test_a_routed_checkpoint_brings_its_classifier(
    library: SmallLibrary, base: Base, taught: ComposedModel, tmp_path: Path
) -> None:
    published = PublishedLibrary(tmp_path / "store", library)
    assert taught.pack.classifier is not None
    entries = {
        name: replace(entry, profile=published.store.put_profile(profile)[0])
        for (name, entry), profile in zip(
            sorted(published.entries.items()), taught.pack.profiles, strict=True
        )
        if profile is not None
    }
    manifest = manifest_of(
        published.spec.digest,
        list((published.entries | entries).values()),
        policy=RoutingPolicy(router="classifier", top_k=1),
        calibration=published.store.put_neutral(neutral_tokens(base, length=24)),
        classifier=published.store.put_classifier(taught.pack.classifier)[0],
    )

    write_routed(tmp_path / "home", Source(published.store, manifest, published.spec, published.base))
    reloaded = load_checkpoint(tmp_path / "home")

    torch.testing.assert_close(
        reloaded.prior(TEXT, "classifier").experts,
        taught.prior(TEXT, "classifier").experts,
        atol=1e-3,
        rtol=1e-3,
    )
    assert reloaded.policy.router == "classifier"
