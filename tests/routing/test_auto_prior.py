"""The prior `auto`: evidence and sample prompts together, in libraries where only some experts gave any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from routing.base import Base
from routing.checkpoint import Source, load_checkpoint, write_routed
from routing.composed import ComposedModel, compose
from routing.encoding import BaseEncoder, prompt_tokens
from routing.index import DEFAULT_POLICY, manifest_of
from routing.neutral import neutral_tokens
from routing.priors import NOBODYS_EVIDENCE, SIMILARITY_WEIGHT, STRANGEST_KIN
from routing.profiles import Profile
from routing.retrieval import profile_of
from routing.routes import Routing
from tests.routing.libraries import TEXT, SmallLibrary, llama_library
from tests.routing.published import PublishedLibrary

SAILING = [
    f"The {boat} sails to the port of Brim." for boat in ("swan", "comet", "raven", "lark", "otter", "tern")
]
COOKING = [f"Stir {many} apples and bake them." for many in ("two", "three", "four", "five", "six", "seven")]
ONE_OR_NOBODY = Routing("arrow", 1, shortlist=1, prior="auto", prior_abstain=True)
GIVEN = {"ada/plain": SAILING, "bob/wide": COOKING}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def base(library: SmallLibrary) -> Base:
    return library.base()


@pytest.fixture(scope="module")
def profiles(base: Base) -> Mapping[str, Profile]:
    encoder = BaseEncoder(base)
    return {name: profile_of(base, encoder, adapter=name, prompts=rows) for name, rows in GIVEN.items()}


@pytest.fixture(scope="module")
def model(library: SmallLibrary, base: Base, profiles: Mapping[str, Profile]) -> ComposedModel:
    """Two experts with sample prompts, the others without."""
    return compose(base, library.experts(), profiles=profiles, neutral=neutral_tokens(base, length=24))


def without_evidence(model: ComposedModel, monkeypatch: pytest.MonkeyPatch) -> ComposedModel:
    """The model, where no expert's weights say anything of any prompt."""
    nothing = torch.full((len(model.experts),), -1.0)
    monkeypatch.setattr("routing.priors.recent_evidence", lambda *_: nothing)
    return replace(model)


def test_without_sample_prompts_auto_is_evidence(library: SmallLibrary, base: Base) -> None:
    plain = compose(base, library.experts(), neutral=neutral_tokens(base, length=24))

    auto, evidence = (plain.prior(TEXT, prior) for prior in ("auto", "evidence"))

    assert torch.equal(auto.experts, evidence.experts)
    assert auto.nobody() == evidence.nobody()


@pytest.mark.parametrize("text", [TEXT, "The petrel sails to the port of Brim.", "gulls"])
def test_auto_adds_to_evidence_what_sample_prompts_say(
    base: Base, model: ComposedModel, profiles: Mapping[str, Profile], text: str
) -> None:
    found = model.prior(text, "auto")

    encoder = BaseEncoder(base)
    neutral = encoder.encode(neutral_tokens(base, length=24).tolist()).double()
    centre, scale = neutral.mean(0), neutral.std(0, correction=0)

    def nearest(embedding: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        one, many = (embedding - centre) / scale, (rows.double() - centre) / scale
        return torch.cosine_similarity(one[None], many).max().clamp(max=1 - 1e-4).atanh()

    asked = encoder.encode([prompt_tokens(base, text)])[0].double()
    alike, edges, inside = {}, {}, {}
    for name, profile in profiles.items():
        rows = profile.prompts
        usual = torch.stack([nearest(one, rows) for one in neutral])
        kin = torch.stack(
            [nearest(row.double(), torch.cat([rows[:at], rows[at + 1 :]])) for at, row in enumerate(rows)]
        )
        mean, deviation = kin.mean(), kin.std(correction=0).clamp_min(0.05)
        edge = mean + STRANGEST_KIN * deviation
        alike[name] = float((nearest(asked, rows) - usual.mean()) / usual.std(correction=0))
        edges[name] = float((edge - usual.mean()) / usual.std(correction=0))
        inside[name] = float((nearest(asked, rows) - edge) / deviation)
    first = max(alike, key=lambda name: alike[name])
    evidence = dict(zip(model.experts, model.prior(text, "evidence").experts.tolist(), strict=True))
    both = {
        name: one
        + SIMILARITY_WEIGHT * alike.get(name, min(alike[first], edges[first]))
        + max(0.0, inside.get(name, 0.0))
        for name, one in evidence.items()
    }
    best = max(both, key=lambda name: both[name])
    top = max(*evidence.values(), NOBODYS_EVIDENCE + inside.get(best, -1e9))
    by_hand = [both[name] - both[best] + top for name in model.experts]
    torch.testing.assert_close(found.experts.tolist(), by_hand, atol=2e-2, rtol=5e-3)


def test_a_prompt_of_an_experts_own_kind_is_its_own_whatever_the_weights_say(
    model: ComposedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = without_evidence(model, monkeypatch)

    for name, text in (("ada/plain", SAILING[0]), ("bob/wide", COOKING[3])):
        answered = silent.generate(text, max_tokens=1, routing=ONE_OR_NOBODY)
        assert set(answered.shares) == {name}


def test_a_strange_prompt_is_left_to_the_base_where_the_weights_say_so(
    model: ComposedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = without_evidence(model, monkeypatch)

    assert silent.generate(TEXT, max_tokens=1, routing=ONE_OR_NOBODY).shares == {}


def test_who_gave_no_sample_prompts_is_judged_by_evidence_where_the_prompt_is_nobodys_kind(
    model: ComposedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = next(place for place, name in enumerate(model.experts) if name not in GIVEN)
    usual = model.queries._known.usual
    found = torch.full((len(model.experts),), -10.0)
    found[stranger] = float(usual.mean[stranger] + 3 * usual.deviation[stranger])
    monkeypatch.setattr("routing.priors.recent_evidence", lambda *_: found)

    answered = replace(model).generate(TEXT, max_tokens=1, routing=ONE_OR_NOBODY)

    assert set(answered.shares) == {model.experts[stranger]}


def test_a_routed_checkpoint_answers_by_the_default_as_the_library_does(
    library: SmallLibrary,
    base: Base,
    model: ComposedModel,
    profiles: Mapping[str, Profile],
    tmp_path: Path,
) -> None:
    published = PublishedLibrary(tmp_path / "store", library)
    entries = [
        replace(entry, profile=published.store.put_profile(profiles[name])[0]) if name in profiles else entry
        for name, entry in published.entries.items()
    ]
    manifest = manifest_of(
        published.spec.digest,
        entries,
        policy=DEFAULT_POLICY,
        calibration=published.store.put_neutral(neutral_tokens(base, length=24)),
    )

    write_routed(tmp_path / "home", Source(published.store, manifest, published.spec, published.base))
    reloaded = load_checkpoint(tmp_path / "home")

    assert reloaded.policy == model.policy == DEFAULT_POLICY
    for text in (SAILING[1], TEXT):
        said = reloaded.prior(text, "auto").experts
        torch.testing.assert_close(said, model.prior(text, "auto").experts, atol=1e-2, rtol=1e-3)
        torch.testing.assert_close(reloaded.logits(text), model.logits(text), atol=1e-4, rtol=1e-4)
