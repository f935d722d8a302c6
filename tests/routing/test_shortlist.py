"""The short list of a prompt, against scores computed by hand from the base's own inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from routing import evidence
from routing.base import Base
from routing.calibration import measure
from routing.checkpoint import Source, load_checkpoint, write_routed
from routing.composed import ComposedModel, compose
from routing.errors import BadRouting
from routing.evidence import CALIBRATED, HALF_LIFE, REACH, evidence_by_token, recent_evidence, usual_evidence
from routing.factors import Factors
from routing.index import DEFAULT_POLICY, RoutingPolicy, manifest_of
from routing.neutral import neutral_tokens
from routing.pack import ModulePack, Pack
from routing.routed import RoutedModel
from routing.routes import Routing
from routing.surveys import Look, survey
from tests.routing.libraries import TEXT, SmallLibrary, gpt2_library, llama_library
from tests.routing.published import PublishedLibrary

NARROW = RoutingPolicy(top_k=2, shortlist=1)


@pytest.fixture(scope="module", params=[llama_library, gpt2_library], ids=["llama", "gpt2"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return request.param(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def model(library: SmallLibrary) -> ComposedModel:
    return compose(library.base(), library.experts(), NARROW)


def inputs_of(base: Base, ids: Tensor) -> dict[str, Tensor]:
    """What each target module of the plain base is given, [tokens, d_in]."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        return lambda _module, given: seen.__setitem__(name, given[0].flatten(0, -2))

    hooks = [
        base.model.get_submodule(target.name).register_forward_pre_hook(keep(target.name))
        for target in base.spec.target_modules
    ]
    with torch.no_grad():
        base.model(input_ids=ids)
    for hook in hooks:
        hook.remove()
    return seen


def test_neutral_text_is_the_same_whenever_it_is_drawn(library: SmallLibrary) -> None:
    first, again = (neutral_tokens(library.base(), sequences=4, length=12) for _ in range(2))

    assert first.shape == (4, 12)
    assert torch.equal(first, again)
    assert not torch.equal(first, neutral_tokens(library.base(), sequences=4, length=12, seed=1))


def test_calibration_is_the_mean_and_deviation_of_each_score_on_neutral_text(
    library: SmallLibrary, model: ComposedModel
) -> None:
    base = library.base()
    neutral = neutral_tokens(base, sequences=11, length=16)

    found = measure(model.routed, model.pack, neutral)

    for name, hidden in inputs_of(base, neutral.long()).items():
        scores = (hidden.double() @ model.pack.modules[name].vectors.prototypes.double().T).abs()
        torch.testing.assert_close(found[name]["arrow"].mean.double(), scores.mean(0), atol=1e-5, rtol=1e-4)
        deviation = scores.std(0, correction=0)
        torch.testing.assert_close(found[name]["arrow"].deviation.double(), deviation, atol=1e-5, rtol=1e-3)


def evidence_by_hand(model: ComposedModel, base: Base, ids: Tensor) -> Tensor:
    """Mean over an expert's modules of its standardised score, in float64 [tokens, experts]."""
    by_expert: dict[str, list[Tensor]] = {name: [] for name in model.experts}
    for name, hidden in inputs_of(base, ids).items():
        module = model.pack.modules[name]
        moments = module.moments["arrow"]
        scores = (hidden.double() @ module.vectors.prototypes.double().T).abs()
        for row, member in enumerate(module.members):
            by_expert[model.experts[member]].append(
                (scores[:, row] - moments.mean[row]) / moments.deviation[row]
            )
    return torch.stack([torch.stack(scores).mean(0) for scores in by_expert.values()], dim=1)


def test_evidence_is_how_far_above_its_usual_an_expert_is_where_the_prompt_ends(
    library: SmallLibrary, model: ComposedModel
) -> None:
    base = library.base()
    ids = torch.tensor(model.tokens(TEXT))

    found = model.prior(ids.tolist(), "evidence").experts

    assert model.pack.text is not None
    usual = evidence_by_hand(model, base, model.pack.text.long())
    weights = 0.5 ** (torch.arange(len(ids) - 1, -1, -1).double() / HALF_LIFE)
    recent = (weights / weights.sum()) @ evidence_by_hand(model, base, ids.unsqueeze(0))
    expected = (recent - usual.mean(0)) / usual.std(0, correction=0)
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=2e-3)


def test_evidence_is_the_mean_over_all_tokens_weighed_by_their_age(model: ComposedModel) -> None:
    ids = model.tokens(TEXT * 6)
    assert len(ids) > REACH
    by_token = evidence_by_token(model.routed, model.pack, torch.tensor([ids]))

    found = recent_evidence(model.routed, model.pack, ids)

    weights = 0.5 ** (torch.arange(len(ids) - 1, -1, -1).double() / HALF_LIFE)
    expected = weights @ by_token.total[0].double() / (weights @ by_token.seen.double())
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_long_prompt_is_scored_no_further_back_than_counts(model: ComposedModel) -> None:
    scored: list[int] = []

    def noted(hidden: Tensor, module: ModulePack) -> Tensor:
        scored.append(len(hidden))
        return CALIBRATED(hidden, module)

    recent_evidence(model.routed, model.pack, model.tokens(TEXT * 6), score=noted)

    assert set(scored) == {REACH}


def test_a_text_is_measured_in_pieces_that_many_experts_make_smaller(
    model: ComposedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = neutral_tokens(model.routed.base, sequences=4, length=12)
    whole, sizes = usual_evidence(model.routed, model.pack, text), list[int]()

    def noted(model: RoutedModel, pack: Pack, rows: Tensor, look: Look) -> None:
        sizes.append(len(rows))
        survey(model, pack, rows, look)

    monkeypatch.setattr(evidence, "survey", noted)
    monkeypatch.setattr(evidence, "AT_ONCE", 12 * len(model.experts))
    found = usual_evidence(model.routed, model.pack, text)

    assert sizes == [1, 1, 1, 1]
    torch.testing.assert_close(tuple(found), tuple(whole), atol=1e-5, rtol=1e-4)


def test_a_short_list_of_one_answers_as_that_expert_alone(model: ComposedModel) -> None:
    ids = torch.tensor(model.tokens(TEXT))
    best = model.experts[int(model.prior(ids.tolist(), "evidence").experts.argmax())]

    narrowed = model.logits(TEXT)

    torch.testing.assert_close(narrowed, model.logits(TEXT, model.routing(router="single", experts=[best])))
    assert set(model.generate(TEXT, max_tokens=3).shares) == {best}


def test_a_list_as_long_as_the_library_narrows_nothing(model: ComposedModel) -> None:
    everyone = Routing("arrow", 2, shortlist=len(model.experts))

    torch.testing.assert_close(model.logits(TEXT, everyone), model.logits(TEXT, Routing("arrow", 2)))


def test_who_is_named_in_the_request_is_not_narrowed(model: ComposedModel) -> None:
    two = model.experts[:2]

    named = model.logits(TEXT, model.routing(experts=two))

    torch.testing.assert_close(named, model.logits(TEXT, Routing("arrow", 2, experts=two)))


def test_the_scale_of_an_expert_does_not_move_it_on_the_list(library: SmallLibrary) -> None:
    experts = library.experts()
    name = next(iter(experts))
    louder = {key: Factors(f.a, 50 * f.b, 50 * f.sigma) for key, f in experts[name].items()}

    before = compose(library.base(), experts, NARROW)
    after = compose(library.base(), {**experts, name: louder}, NARROW)

    torch.testing.assert_close(before.prior(TEXT, "evidence").experts, after.prior(TEXT, "evidence").experts)


def test_a_routed_checkpoint_brings_its_neutral_text(library: SmallLibrary, tmp_path: Path) -> None:
    published = PublishedLibrary(tmp_path / "store", library)
    neutral = neutral_tokens(library.base())
    digest = published.store.put_neutral(neutral)
    manifest = manifest_of(
        published.spec.digest, list(published.entries.values()), policy=NARROW, calibration=digest
    )
    source = Source(published.store, manifest, published.spec, published.base)

    write_routed(tmp_path / "home", source)
    reloaded = load_checkpoint(tmp_path / "home")

    here = compose(library.base(), library.experts(), NARROW)
    torch.testing.assert_close(reloaded.logits(TEXT), here.logits(TEXT), atol=1e-5, rtol=1e-5)


def test_a_negative_list_is_refused() -> None:
    with pytest.raises(BadRouting, match="shortlist"):
        replace(Routing("arrow", 2), shortlist=-1)


def test_who_says_no_policy_gets_the_one_that_the_study_chose(library: SmallLibrary) -> None:
    base = library.base()
    few = neutral_tokens(base, sequences=4, length=8)

    model = compose(base, library.experts(), neutral=few)

    assert model.policy == DEFAULT_POLICY
    said = model.prior(TEXT, "evidence")
    speakers = 1 if float(said.experts.max()) > said.nobody() else 0
    assert len(model.generate(TEXT, max_tokens=2).shares) == speakers
