"""The values of an upload: every one finite, the update neither nothing nor larger than the base."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from routing.checks.numbers import run_number_checks
from tests.routing.checks.uploads import FIRST, TENSORS, edit_tensors, good_upload, set_config, spec
from tests.tiny import tiny_adapter

A, B = f"{FIRST}.lora_A.weight", f"{FIRST}.lora_B.weight"


def largest_share(directory: Path, module: str) -> float:
    """The yardstick by an authority: the dense update's spectral norm over the base's."""
    pair: dict[str, torch.Tensor] = {}
    edit_tensors(pair.update)(directory)
    a, b = (pair[f"base_model.model.{module}.lora_{half}.weight"].double() for half in "AB")
    return float(torch.linalg.matrix_norm(2 * b @ a, 2)) / spec().module(module).spectral_norm


def scaled(by: float, directory: Path) -> None:
    edit_tensors(lambda tensors: [t.mul_(by) for name, t in tensors.items() if "lora_B" in name])(directory)


def test_an_honest_adapter_passes_without_a_word(tmp_path: Path) -> None:
    assert run_number_checks(tiny_adapter(tmp_path, scale=0.05), spec()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_no_number_is_found_with_its_tensor(tmp_path: Path, value: float) -> None:
    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors[B][-1, -1] = value

    edit_tensors(poison)(good_upload(tmp_path))

    (finding,) = run_number_checks(tmp_path, spec())

    assert (finding.check, finding.severity, finding.field) == ("finite", "error", B)
    assert finding.found.startswith("1 values")


def test_infinities_of_half_precision_are_found(tmp_path: Path) -> None:
    edit_tensors(lambda tensors: tensors.update({A: (tensors[A] * 1e9).half()}))(good_upload(tmp_path))

    assert [finding.field for finding in run_number_checks(tmp_path, spec())] == [A]


@pytest.mark.parametrize("half", ["lora_A", "lora_B"])
def test_an_update_of_nothing_is_refused(tmp_path: Path, half: str) -> None:
    edit_tensors(lambda tensors: [t.zero_() for name, t in tensors.items() if half in name])(
        good_upload(tmp_path)
    )

    (finding,) = run_number_checks(tmp_path, spec())

    assert (finding.check, finding.severity) == ("norm", "error")


def test_an_update_that_vanishes_beside_the_base_is_refused(tmp_path: Path) -> None:
    scaled(1e-9, good_upload(tmp_path))

    assert [finding.severity for finding in run_number_checks(tmp_path, spec())] == ["error"]


def test_some_modules_without_an_update_are_ordinary(tmp_path: Path) -> None:
    tiny_adapter(tmp_path, scale=0.05)
    edit_tensors(lambda tensors: tensors[B].zero_())(tmp_path)

    assert run_number_checks(tmp_path, spec()) == []


@pytest.mark.parametrize(
    ("target", "severity"), [(1.9, None), (2.1, "warning"), (9.9, "warning"), (10.1, "error")]
)
def test_size_is_judged_against_the_base(tmp_path: Path, target: float, severity: str | None) -> None:
    module = "model.layers.0.self_attn.q_proj"
    tiny_adapter(tmp_path, targets=["q_proj"], layers=[0])
    scaled(target / largest_share(tmp_path, module), tmp_path)

    findings = run_number_checks(tmp_path, spec())

    assert [(f.check, f.severity, f.field) for f in findings] == (
        [("norm", severity, module)] if severity else []
    )


def test_scaling_counts_as_size(tmp_path: Path) -> None:
    tiny_adapter(tmp_path, targets=["q_proj"], layers=[0], scale=0.05)
    set_config(lora_alpha=250)(tmp_path)

    assert {finding.severity for finding in run_number_checks(tmp_path, spec())} <= {"warning", "error"}
    assert run_number_checks(tmp_path, spec())


def test_what_the_static_checks_refuse_is_left_to_them(tmp_path: Path) -> None:
    set_config(use_dora=True)(good_upload(tmp_path))
    assert run_number_checks(tmp_path, spec()) == []

    (tmp_path / TENSORS).write_bytes(b"no tensors")
    assert run_number_checks(tmp_path, spec()) == []


def test_values_are_checked_even_when_the_settings_are_refused(tmp_path: Path) -> None:
    set_config(use_dora=True)(good_upload(tmp_path))
    edit_tensors(lambda tensors: tensors[A].fill_(math.nan))(tmp_path)

    assert [finding.check for finding in run_number_checks(tmp_path, spec())] == ["finite"]
