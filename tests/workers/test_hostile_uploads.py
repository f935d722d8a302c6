"""Whatever somebody uploads ends as findings about their files, and the next upload is served as usual."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hub.adapters.models import Release
from hub.jobs.models import Job
from tests.tiny import tiny_adapter
from tests.workers.uploading import ready_library, upload, work_off_jobs
from workers import examination
from workers.examination import static_findings
from workers.places import base_spec
from workers.sandbox import MIB, Limits, Outcome

pytestmark = pytest.mark.usefixtures("hub")
TENSORS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
CATASTROPHE = "(a+)+" * 5 + "$"


def header_length_of_eight_exabytes(folder: Path) -> None:
    (folder / TENSORS).write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def a_crowd_of_empty_tensors(folder: Path) -> None:
    many_tensors(folder, 200_000)


def many_tensors(folder: Path, count: int) -> None:
    entry = {"dtype": "F32", "shape": [0, 1], "data_offsets": [0, 0]}
    header = json.dumps({f"t{number}": entry for number in range(count)}).encode()
    (folder / TENSORS).write_bytes(struct.pack("<Q", len(header)) + header)


def truncated_tensors(folder: Path) -> None:
    content = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(content[: len(content) // 2])


def a_nan_in_the_last_value(folder: Path) -> None:
    tensors = load_file(folder / TENSORS)
    list(tensors.values())[-1].view(-1)[-1] = torch.nan
    save_file(tensors, folder / TENSORS)


def a_base_weight_smuggled_in(folder: Path) -> None:
    tensors = {**load_file(folder / TENSORS), "base_model.model.lm_head.weight": torch.zeros(320, 32)}
    save_file(tensors, folder / TENSORS)


def a_pattern_that_never_ends(folder: Path) -> None:
    change_config(folder, target_modules=CATASTROPHE, rank_pattern={CATASTROPHE: 4})


def a_config_nested_without_end(folder: Path) -> None:
    (folder / CONFIG).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


def an_infinite_scale(folder: Path) -> None:
    change_config(folder, lora_alpha=float("inf"))


def no_config_at_all(folder: Path) -> None:
    (folder / CONFIG).unlink()


def only_a_pickle(folder: Path) -> None:
    (folder / TENSORS).rename(folder / "adapter_model.bin")


def change_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **fields}))


ATTACKS: tuple[Callable[[Path], None], ...] = (
    header_length_of_eight_exabytes,
    a_crowd_of_empty_tensors,
    truncated_tensors,
    a_nan_in_the_last_value,
    a_base_weight_smuggled_in,
    a_pattern_that_never_ends,
    a_config_nested_without_end,
    an_infinite_scale,
    no_config_at_all,
    only_a_pickle,
)


def test_every_attack_is_rejected_with_findings_and_the_queue_goes_on(tmp_path: Path) -> None:
    library = ready_library()
    honest = tiny_adapter(tmp_path / "honest", rank=2)
    releases = {}
    for attack in ATTACKS:
        folder = Path(shutil.copytree(honest, tmp_path / attack.__name__))
        attack(folder)
        releases[attack.__name__] = upload(library, folder, name=attack.__name__.replace("_", "-"))
    good = upload(library, honest, name="honest")

    work_off_jobs()

    verdicts = {name: Release.objects.get(pk=release.pk) for name, release in releases.items()}
    assert {name: release.status for name, release in verdicts.items()} == dict.fromkeys(releases, "rejected")
    assert all(release.findings for release in verdicts.values())
    assert "Traceback" not in json.dumps([release.findings for release in verdicts.values()])
    assert Release.objects.get(pk=good.pk).status == "ready"
    assert list(Job.objects.exclude(state="done", attempt=1)) == []


def test_files_that_exhaust_their_reader_are_refused_with_a_finding(tmp_path: Path) -> None:
    spec = base_spec(ready_library())
    honest = tiny_adapter(tmp_path / "honest")
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    many_tensors(honest, 80_000)  # a header just below its cap

    (finding,) = static_findings(honest, spec, scratch=scratch, limits=Limits(memory=48 * MIB))

    assert (finding.check, finding.severity) == ("readable", "error")
    assert "limits" in finding.found


def test_checks_that_are_broken_are_not_blamed_on_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Outcome(status=1, output=b"", errors="KeyError: a bug of ours", late=False)
    monkeypatch.setattr(examination, "run_confined", lambda *_args, **_options: ended)

    with pytest.raises(examination.ChecksBroke, match="a bug of ours"):
        static_findings(tmp_path, base_spec(ready_library()), scratch=tmp_path)
