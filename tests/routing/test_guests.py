"""Experts that join an index version: the pack is the one of a version that was planned with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from routing.calibration import calibrated_pack
from routing.classifier import Classifier
from routing.errors import MissingObject
from routing.index import ExpertEntry, manifest_of
from routing.neutral import neutral_tokens
from routing.pack import Pack
from routing.packing import join_guests, load_pack
from routing.profiles import Profile
from routing.queries import QueryRouter
from routing.routed import RoutedModel
from routing.routes import Routing
from tests.routing.libraries import TEXT, llama_library
from tests.routing.published import PublishedLibrary
from tests.routing.rows import same_rows

CPU = torch.device("cpu")
MEMBERS = ("ada/plain", "di/patterned", "eve/late")
GUESTS = ("bob/wide", "cy/attention")
WIDTH = 4


@pytest.fixture
def published(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedLibrary:
    """Every expert but two has a profile."""
    library = PublishedLibrary(tmp_path / "store", llama_library(tmp_path_factory.getbasetemp() / "guests"))
    for name in ("ada/plain", "bob/wide", "eve/late"):
        profile = Profile(f"knows {name}", "base:tiny", torch.ones(WIDTH), torch.ones(2, WIDTH))
        digest, size = library.store.put_profile(profile)
        library.entries[name] = replace(library.entries[name], profile=digest, profile_size=size)
    return library


@pytest.fixture
def model(published: PublishedLibrary) -> RoutedModel:
    return RoutedModel(published.library.base())


def version(published: PublishedLibrary, model: RoutedModel, names: Sequence[str]) -> Pack:
    """As a serving process assembles it: read and measured."""
    pack = load_pack(
        published.store, published.manifest(names), published.spec, device=CPU, dtype=torch.float32
    )
    return calibrated_pack(model, pack, neutral_tokens(model.base), neutral="n" * 64)


def joined(published: PublishedLibrary, pack: Pack, guests: Sequence[ExpertEntry]) -> Pack:
    return join_guests(published.store, pack, guests, published.spec, device=CPU, dtype=torch.float32)


def measured(published: PublishedLibrary, model: RoutedModel, pack: Pack) -> Pack:
    guests = [published.entries[name] for name in GUESTS]
    found = joined(published, pack, guests)
    assert pack.text is not None
    return calibrated_pack(model, found, pack.text, neutral="n" * 64)


def test_a_pack_with_guests_equals_the_one_of_a_version_planned_with_them(
    published: PublishedLibrary, model: RoutedModel
) -> None:
    planned = version(published, model, [*MEMBERS, *GUESTS])

    found = measured(published, model, version(published, model, MEMBERS))

    assert (found.experts, found.keys, found.neutral) == (planned.experts, planned.keys, planned.neutral)
    assert [one and one.description for one in found.profiles] == [
        one and one.description for one in planned.profiles
    ]
    assert found.modules.keys() == planned.modules.keys()
    for name, module in planned.modules.items():
        other = found.modules[name]
        assert same_rows(other, module)
        for ours, theirs in (
            (other.vectors.prototypes, module.vectors.prototypes),
            *((other.moments[kind].mean, moments.mean) for kind, moments in module.moments.items()),
            *((other.moments[kind].deviation, moments.deviation) for kind, moments in module.moments.items()),
        ):
            torch.testing.assert_close(ours, theirs)
    assert found.usual is not None
    assert planned.usual is not None
    torch.testing.assert_close(torch.stack(found.usual), torch.stack(planned.usual), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "wanted", [Routing("arrow", top_k=2), Routing("arrow", top_k=1, shortlist=2, prior="evidence")]
)
def test_it_answers_as_that_version(published: PublishedLibrary, model: RoutedModel, wanted: Routing) -> None:
    planned = version(published, model, [*MEMBERS, *GUESTS])
    found = measured(published, model, version(published, model, MEMBERS))
    ids = torch.tensor([model.base.tokenizer(TEXT)["input_ids"]])

    logits = [
        model.logits(ids, route=QueryRouter(model, pack).route(wanted, ids[0].tolist()))
        for pack in (found, planned)
    ]

    torch.testing.assert_close(logits[0], logits[1])


def test_only_the_guests_are_read(published: PublishedLibrary, model: RoutedModel) -> None:
    pack = version(published, model, MEMBERS)
    for name in MEMBERS:
        for digest in (published.entries[name].vectors, published.entries[name].factors):
            published.store.objects.delete(digest)

    found = measured(published, model, pack)

    assert found.experts == tuple(sorted([*MEMBERS, *GUESTS]))
    assert pack.experts == MEMBERS


def test_a_guest_takes_the_place_of_another_release_of_its_adapter(
    published: PublishedLibrary, model: RoutedModel
) -> None:
    pack = version(published, model, MEMBERS)
    newer = replace(published.entries["bob/wide"], adapter="ada/plain", release="b" * 40)

    found = joined(published, pack, [newer])

    assert found.experts == MEMBERS
    assert found.keys == (f"{newer.vectors}+{newer.factors}", *pack.keys[1:])
    assert found.profiles[0] is not None
    assert found.profiles[0].description == "knows bob/wide"


def test_the_versions_classifier_stays_and_guests_share_what_it_gives_to_nobody(
    published: PublishedLibrary, model: RoutedModel
) -> None:
    head = Classifier(
        encoder=QueryRouter(model, Pack((), {}))._known.encoder.name,
        experts=("ada/plain", "eve/late"),
        centre=torch.zeros(model.base.model.config.hidden_size),
        scale=torch.ones(model.base.model.config.hidden_size),
        weight=torch.zeros(3, model.base.model.config.hidden_size),
        bias=torch.zeros(3),
    )
    pack = replace(version(published, model, ["ada/plain", "eve/late"]), classifier=head)

    said = QueryRouter(model, measured(published, model, pack)).scores("classifier", [1, 2, 3])

    known, shared = [0, 3], [1, 2]
    chances = said.experts.exp()
    torch.testing.assert_close(chances[known], torch.full((2,), 1 / 3))
    assert bool((chances[shared] > 0).all())
    assert float(chances[shared].sum()) + float(torch.tensor(said.nobody()).exp()) == pytest.approx(1 / 3)


def test_a_guest_whose_object_is_gone_is_refused(published: PublishedLibrary, model: RoutedModel) -> None:
    pack = version(published, model, MEMBERS)
    published.store.objects.delete(published.entries["bob/wide"].factors)

    with pytest.raises(MissingObject, match=published.entries["bob/wide"].factors):
        joined(published, pack, [published.entries["bob/wide"]])


def test_guests_of_a_version_without_experts_are_its_experts(
    published: PublishedLibrary, model: RoutedModel
) -> None:
    empty = load_pack(
        published.store,
        manifest_of(published.spec.digest, ()),
        published.spec,
        device=CPU,
        dtype=torch.float32,
    )

    assert joined(published, empty, [published.entries["bob/wide"]]).experts == ("bob/wide",)
