"""Uploads of DoRA and (IA)^3 are read as strictly as LoRA, and what cannot be mixed is refused with its reason."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from peft import PeftType

from routing.base import inspect_base, load_base
from routing.checks.numbers import run_number_checks
from routing.checks.static import run_static_checks
from routing.factors import expert_factors
from routing.finding import Finding
from routing.refused_kinds import REFUSED_KINDS, refused_kind
from routing.spec import BaseRef
from routing.weights import layers_of
from tests.routing.checks.uploads import (
    CONFIG,
    FIRST,
    TENSORS,
    Spoil,
    edit_tensors,
    good_upload,
    set_config,
    spec,
    write_config,
)
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_ia3, tiny_llama

MAGNITUDE = f"{FIRST}.lora_magnitude_vector"
KEYS = "base_model.model.model.layers.0.self_attn.k_proj.ia3_l"
DOWN = "base_model.model.model.layers.0.mlp.down_proj.ia3_l"


def nothing_of_an_ia3(tensors: dict[str, torch.Tensor]) -> None:
    tensors.clear()
    tensors["x"] = torch.ones(1)


def tensor(name: str, value: torch.Tensor) -> Spoil:
    return edit_tensors(lambda tensors: tensors.update({name: value}))


# name of the trap: (how to set it, the check that finds it, the file, a part of the field or of what was found)
DORA_TRAPS: dict[str, tuple[Spoil, str, str, str]] = {
    "no magnitude": (edit_tensors(lambda t: t.pop(MAGNITUDE)), "tensors-fit-base", TENSORS, "lora_magnitude_vector"),
    "too many lengths": (tensor(MAGNITUDE, torch.ones(33)), "tensors-fit-base", TENSORS, "shape [33]"),
    "lengths of the inputs": (tensor(MAGNITUDE, torch.ones(1, 32)), "tensors-fit-base", TENSORS, "shape [1, 32]"),
    "magnitudes that are not declared": (set_config(use_dora=False), "tensors-fit-base", TENSORS, "use_dora is not set"),
    "a switch as text": (set_config(use_dora="yes"), "adapter-config", CONFIG, "use_dora"),
    "a magnitude of no module": (
        tensor(MAGNITUDE.replace("layers.0", "layers.7"), torch.ones(32)), "tensors-fit-base", TENSORS, "layers.7"
    ),
    "a magnitude under another name": (tensor(f"{MAGNITUDE}.weight", torch.ones(32)), "tensors-fit-base", TENSORS, "a DoRA magnitude"),
}  # fmt: skip
IA3_TRAPS: dict[str, tuple[Spoil, str, str, str]] = {
    "a vector of another width": (tensor(KEYS, torch.ones(17, 1)), "tensors-fit-base", TENSORS, "shape [17, 1]"),
    "a vector without its side": (tensor(KEYS, torch.ones(16)), "tensors-fit-base", TENSORS, "shape [16]"),
    "an output scale on a feed-forward": (tensor(DOWN, torch.ones(32, 1)), "tensors-fit-base", TENSORS, "shape [32, 1]"),
    "an input scale on keys": (tensor(KEYS, torch.ones(1, 32)), "tensors-fit-base", TENSORS, "shape [1, 32]"),
    "feed-forwards that are no targets": (set_config(feedforward_modules=["up_proj"]), "adapter-config", CONFIG, "up_proj"),
    "a pattern for feed-forwards": (set_config(feedforward_modules=["(a+)+$"]), "adapter-config", CONFIG, "feedforward_modules"),
    "one text for feed-forwards": (set_config(feedforward_modules=".*down"), "adapter-config", CONFIG, "feedforward_modules"),
    "whole modules": (set_config(modules_to_save=["lm_head"]), "adapter-config", CONFIG, "modules_to_save"),
    "an unknown setting": (set_config(use_novelty=1), "adapter-config", CONFIG, "use_novelty"),
    "another task": (set_config(task_type="SEQ_CLS"), "adapter-config", CONFIG, "task_type"),
    "a module that the base lacks": (
        tensor(KEYS.replace("layers.0", "layers.9"), torch.ones(16, 1)), "tensors-fit-base", TENSORS, "layers.9"
    ),
    "a weight of the base": (
        tensor("base_model.model.model.norm.weight", torch.ones(32)), "tensors-fit-base", TENSORS, "a weight of the base"
    ),
    "a declared target without a vector": (edit_tensors(lambda t: t.pop(KEYS)), "targets", TENSORS, "k_proj"),
    "no vectors": (edit_tensors(nothing_of_an_ia3), "tensors-fit-base", TENSORS, "no (IA)^3 vectors"),
    "the settings of a LoRA": (write_config(b'{"peft_type": "LORA"}'), "tensors-fit-base", TENSORS, "a vector of an (IA)^3"),
}  # fmt: skip


@pytest.mark.parametrize("trap", [*DORA_TRAPS, *IA3_TRAPS])
def test_a_trap_is_an_error_of_its_check_that_names_the_place(tmp_path: Path, trap: str) -> None:
    spoil, check, file, where = (DORA_TRAPS | IA3_TRAPS)[trap]
    spoil(tiny_ia3(tmp_path) if trap in IA3_TRAPS else tiny_adapter(tmp_path, dora=True))

    errors = [f for f in run_static_checks(tmp_path, spec()) if f.severity == "error"]

    hits = [f for f in errors if (f.check, f.file) == (check, file) and where in f"{f.field} {f.found}"]
    assert hits, "\n".join(map(str, errors))
    assert all(finding.found and finding.expected for finding in errors)


@pytest.mark.parametrize("base", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("kind", ["dora", "ia3"])
def test_what_peft_saves_passes_without_an_error(tmp_path: Path, base: object, kind: str) -> None:
    folder: Path = base()  # type: ignore[operator]
    upload = tiny_adapter(tmp_path, folder, dora=True) if kind == "dora" else tiny_ia3(tmp_path, folder)
    loaded = load_base(BaseRef(str(folder)))

    findings = run_static_checks(upload, inspect_base(BaseRef(str(folder)), name=folder.name))
    findings += run_number_checks(
        upload, loaded.spec, lambda adapter: expert_factors(adapter, layers_of(loaded))
    )

    assert [f for f in findings if f.severity == "error"] == []


@pytest.mark.parametrize(
    ("value", "check"), [(0.0, "magnitude"), (-1.0, "magnitude"), (math.nan, "finite"), (math.inf, "finite")]
)
def test_a_magnitude_that_is_no_length_is_refused(tmp_path: Path, value: float, check: str) -> None:
    tiny_adapter(tmp_path, dora=True)
    edit_tensors(lambda tensors: tensors[MAGNITUDE][3:5].fill_(value))(tmp_path)

    (finding,) = run_number_checks(tmp_path, spec())

    assert (finding.check, finding.severity, finding.file) == (check, "error", TENSORS)
    assert "self_attn.q_proj.lora_magnitude_vector" in finding.field
    assert finding.found.startswith("2 ")


@pytest.mark.parametrize(("scale", "severity"), [(3.0, "warning"), (30.0, "error")])
def test_an_implausible_scale_is_found_by_its_size(tmp_path: Path, scale: float, severity: str) -> None:
    tiny_ia3(tmp_path, scale=0.01)
    edit_tensors(lambda tensors: tensors[DOWN].fill_(1 + scale))(tmp_path)
    base = load_base(BaseRef(str(tiny_llama())))

    findings = run_number_checks(tmp_path, spec(), lambda adapter: expert_factors(adapter, layers_of(base)))

    assert [(f.check, f.severity) for f in findings] == [("norm", severity)]


@pytest.mark.parametrize("kind", sorted({kind.value for kind in PeftType} - {"LORA", "IA3"}))
def test_every_other_kind_of_peft_is_refused_with_a_reason(tmp_path: Path, kind: str) -> None:
    set_config(peft_type=kind)(good_upload(tmp_path))

    (finding,) = config_errors(tmp_path)

    assert finding.field == "peft_type"
    assert refused_kind(kind).what in finding.found
    assert refused_kind(kind).why in finding.expected
    assert finding.fix == refused_kind(kind).fix


def test_every_kind_in_the_table_is_one_of_pefts() -> None:
    assert set(REFUSED_KINDS) <= {kind.value for kind in PeftType}


@pytest.mark.parametrize("kind", [None, 7, ["LORA"], {}, "lora"])
def test_what_is_no_kind_at_all_is_refused(tmp_path: Path, kind: object) -> None:
    set_config(peft_type=kind)(good_upload(tmp_path))

    assert [finding.field for finding in config_errors(tmp_path)] == ["peft_type"]


def config_errors(directory: Path) -> list[Finding]:
    return [f for f in run_static_checks(directory, spec()) if f.check == "adapter-config"]
