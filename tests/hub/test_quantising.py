"""Merged weights in fewer bits: asked for, refused and estimated as routing writes them."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hub.accounts.models import User
from hub.errors import Invalid
from hub.indexes import checkpoints
from hub.indexes.models import IndexVersion
from hub.indexes.quantising import GROUPS as HUBS
from hub.indexes.quantising import check_bits
from hub.pages.checkpoint_form import BITS, CheckpointForm
from routing.base import load_base
from routing.errors import BadCheckpoint
from routing.quantised import GROUPS, rounding_for
from routing.spec import BaseSpec
from tests.hub import making
from tests.tiny import tiny_gpt2, tiny_llama, tiny_t5


def base(folder: Path, *, d_in: int | None = None) -> BaseSpec:
    spec = load_base(folder).spec
    first, *others = spec.target_modules
    return replace(spec, target_modules=(replace(first, d_in=d_in or first.d_in), *others))


def test_the_hub_and_routing_refuse_the_same() -> None:
    bases = [base(tiny_llama()), base(tiny_gpt2()), base(tiny_t5()), base(tiny_llama(), d_in=40)]

    said = {}
    for spec in bases:
        for bits in (8, 4, 5):
            complaints = check_bits(asdict(spec), bits)
            said[spec.target_modules[0].d_in, spec.architecture, bits] = complaints
            if complaints:
                with pytest.raises(BadCheckpoint):
                    rounding_for(spec, bits)
            else:
                rounding_for(spec, bits)

    assert HUBS == GROUPS == {int(bits): GROUPS[int(bits)] for bits in BITS if bits}
    assert [key for key, complaints in said.items() if not complaints] == [
        (32, "LlamaForCausalLM", 8),
        (32, "LlamaForCausalLM", 4),
        (40, "LlamaForCausalLM", 8),
    ]


@pytest.mark.parametrize("bits", ["8", 8.5, True, 16])
def test_only_whole_numbers_that_there_are_count(bits: object) -> None:
    assert check_bits({}, bits) == [f"bits is {bits!r}; expected 8 or 4"]


@pytest.fixture
def version(db: None) -> IndexVersion:
    owner: User = making.user()
    place = making.library()
    making.ready(owner, place, "a")
    return making.publish(place)


@pytest.mark.parametrize(
    ("kind", "bits", "says"),
    [
        ("routed", 8, "bits belongs to the kind 'merged', not to 'routed'"),
        ("adapter", 4, "bits belongs to the kind 'merged', not to 'adapter'"),
        ("merged", 3, "bits is 3; expected 8 or 4"),
    ],
)
def test_bits_that_make_no_sense_are_refused(version: IndexVersion, kind: str, bits: int, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        checkpoints.request_checkpoint(version=version, kind=kind, requested_by=None, options={"bits": bits})


def test_weights_in_other_bits_are_another_checkpoint(version: IndexVersion) -> None:
    def asked(**options: Any) -> int:
        found = checkpoints.request_checkpoint(
            version=version, kind="merged", requested_by=None, options=options
        )
        return found.pk

    assert asked(bits=8) == asked(bits=8)
    assert len({asked(), asked(bits=8), asked(bits=4), asked(bits=4, method="ties")}) == 4


def test_the_form_speaks_of_bits_for_merged_weights_alone() -> None:
    def options(kind: str, bits: str) -> dict[str, Any]:
        form = CheckpointForm({"version": 1, "kind": kind, "bits": bits}, versions=[1], parts=[])
        assert form.is_valid(), form.errors
        return form.options()

    assert options("merged", "4") == {"bits": 4}
    assert options("merged", "") == options("adapter", "4") == options("routed", "8") == {}
