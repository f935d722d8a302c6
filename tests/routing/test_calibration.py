"""Calibration over versions: what was measured is taken over, and only where it is of the same text."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from routing import calibration, evidence
from routing.base import load_base
from routing.calibration import calibrated_pack
from routing.errors import BadRouting
from routing.index import manifest_of
from routing.pack import Pack
from routing.packing import load_pack
from routing.routed import RoutedModel
from routing.routes import Routing, route
from routing.scores import SCORES
from routing.spec import BaseRef
from tests.routing.libraries import llama_library
from tests.routing.published import PublishedLibrary
from tests.tiny import tiny_llama

CPU = torch.device("cpu")
TEXT = torch.arange(2, 62).view(3, 20)


@pytest.fixture
def published(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedLibrary:
    return PublishedLibrary(tmp_path / "store", llama_library(tmp_path_factory.getbasetemp() / "calibration"))


@pytest.fixture
def model() -> RoutedModel:
    return RoutedModel(load_base(BaseRef(str(tiny_llama()))))


def loaded(
    published: PublishedLibrary, names: list[str], *, text: str | None, previous: Pack | None = None
) -> Pack:
    entries = [published.entries[name] for name in names]
    manifest = replace(manifest_of(published.spec.digest, entries), calibration=text)
    return load_pack(
        published.store, manifest, published.spec, device=CPU, dtype=torch.float32, previous=previous
    )


def assert_equal_moments(left: Pack, right: Pack) -> None:
    for name, module in left.modules.items():
        assert module.moments.keys() == SCORES.keys()
        for kind, moments in module.moments.items():
            other = right.modules[name].moments[kind]
            torch.testing.assert_close(moments.mean, other.mean, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(moments.deviation, other.deviation, atol=1e-6, rtol=1e-4)
    assert left.usual is not None
    assert right.usual is not None
    torch.testing.assert_close(tuple(left.usual), tuple(right.usual), atol=1e-6, rtol=1e-4)


def test_only_new_experts_are_measured_and_the_rest_is_what_it_was(
    published: PublishedLibrary, model: RoutedModel
) -> None:
    before = calibrated_pack(
        model, loaded(published, ["ada/plain", "eve/late"], text="one"), TEXT, neutral="one"
    )
    later = loaded(published, ["ada/plain", "bob/wide", "eve/late"], text="one", previous=before)

    with (
        patch.object(calibration, "measure", wraps=calibration.measure) as measured,
        patch.object(evidence, "evidence_by_token", wraps=evidence.evidence_by_token) as heard,
    ):
        after = calibrated_pack(model, later, TEXT, neutral="one")

    seen = [call.args[1] for call in (*measured.call_args_list, *heard.call_args_list)]
    assert {place for pack in seen for module in pack.modules.values() for place in module.members} == {1}
    fresh = loaded(published, ["ada/plain", "bob/wide", "eve/late"], text="one")
    assert_equal_moments(after, calibrated_pack(model, fresh, TEXT, neutral="one"))


def test_a_version_that_adds_nobody_reads_no_text(published: PublishedLibrary, model: RoutedModel) -> None:
    names = ["ada/plain", "bob/wide"]
    before = calibrated_pack(model, loaded(published, names, text="one"), TEXT, neutral="one")
    later = loaded(published, names[1:], text="one", previous=before)

    with patch.object(RoutedModel, "run") as run, patch.object(RoutedModel, "last_logits") as passed:
        after = calibrated_pack(model, later, TEXT, neutral="one")

    assert not run.called
    assert not passed.called
    assert before.usual is not None
    assert after.usual is not None
    assert after.usual.mean.tolist() == before.usual.mean[1:].tolist()


def test_another_text_is_measured_anew(published: PublishedLibrary, model: RoutedModel) -> None:
    names = ["ada/plain", "bob/wide"]
    before = calibrated_pack(model, loaded(published, names, text="one"), TEXT, neutral="one")
    other = TEXT.flip(0, 1)

    after = calibrated_pack(
        model, loaded(published, names, text="two", previous=before), other, neutral="two"
    )

    assert after.neutral == "two"
    assert_equal_moments(
        after, calibrated_pack(model, loaded(published, names, text="two"), other, neutral="two")
    )


def test_a_version_without_text_after_one_with_it_is_not_calibrated(
    published: PublishedLibrary, model: RoutedModel
) -> None:
    before = calibrated_pack(model, loaded(published, ["ada/plain"], text="one"), TEXT, neutral="one")

    after = loaded(published, ["ada/plain", "bob/wide"], text=None, previous=before)

    assert after.neutral is None
    with pytest.raises(BadRouting, match="neutral text"):
        route(after, Routing("arrow", 1, calibrated=True))


def test_a_pack_that_nobody_holds_is_gone_without_looking_for_garbage(
    published: PublishedLibrary, model: RoutedModel
) -> None:
    gc.disable()
    try:
        pack = calibrated_pack(model, loaded(published, ["ada/plain"], text="one"), TEXT, neutral="one")
        module = weakref.ref(next(iter(pack.modules.values())).vectors)
        del pack
        assert module() is None
    finally:
        gc.enable()
