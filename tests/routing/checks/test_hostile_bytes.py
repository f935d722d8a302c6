"""No bytes make the checks raise: whatever comes, findings come back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.checks.numbers import run_number_checks
from routing.checks.samples import parse_samples
from routing.checks.static import run_static_checks
from routing.lora_config import IGNORED, REFUSED, SUPPORTED
from tests.routing.checks.uploads import (
    CONFIG,
    TENSORS,
    good_header,
    good_upload,
    scratch_folder,
    set_config,
    spec,
    write_raw,
)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = st.sampled_from(sorted({*SUPPORTED, *IGNORED, *REFUSED, "bias", "task_type", "init_lora_weights"}))
EXAMPLES = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def upload() -> Path:
    return scratch_folder()


def checked(directory: Path) -> list[Any]:
    findings = [*run_static_checks(directory, spec()), *run_number_checks(directory, spec())]
    assert "".join(text for finding in findings for text in finding.to_json().values()).isprintable()
    return findings


@EXAMPLES
@given(content=st.binary(max_size=300))
def test_any_bytes_as_a_tensor_file_give_findings(upload: Path, content: bytes) -> None:
    good_upload(upload)
    (upload / TENSORS).write_bytes(content)

    assert any(finding.severity == "error" for finding in checked(upload))


@EXAMPLES
@given(content=st.binary(max_size=300))
def test_any_bytes_as_a_configuration_give_findings(upload: Path, content: bytes) -> None:
    good_upload(upload)
    (upload / CONFIG).write_bytes(content)

    assert any(finding.severity == "error" for finding in checked(upload))


@EXAMPLES
@given(changes=st.dictionaries(SETTINGS, ANY_JSON, min_size=1, max_size=3))
def test_any_values_of_settings_never_raise(upload: Path, changes: dict[str, Any]) -> None:
    set_config(**changes)(good_upload(upload))

    checked(upload)


@EXAMPLES
@given(data=st.data())
def test_a_header_with_any_value_in_any_place_never_raises(upload: Path, data: st.DataObject) -> None:
    good_upload(upload)
    header, content = good_header()
    name = data.draw(st.sampled_from(sorted(header)))
    field = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "new"]))
    header[name] = (
        {**header[name], field: data.draw(ANY_JSON)} if data.draw(st.booleans()) else data.draw(ANY_JSON)
    )

    write_raw(upload, json.dumps(header).encode(), content)

    checked(upload)


@EXAMPLES
@given(data=st.data())
def test_a_file_with_any_byte_changed_never_raises(upload: Path, data: st.DataObject) -> None:
    shutil.rmtree(upload)
    path = good_upload(upload) / TENSORS
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, 4000) | st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), place]))])

    checked(upload)


@EXAMPLES
@given(content=st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_as_samples_give_rows_or_findings(content: bytes) -> None:
    samples, findings = parse_samples(content)

    assert samples or findings
