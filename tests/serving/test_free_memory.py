"""Free memory is what the machine has and what the control group leaves, whichever is less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from workers.serving import free_memory as module
from workers.serving.free_memory import free_in_group, free_memory

V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
NO_LIMIT_OF_V1 = str(2**63 - 4096)


def group(folder: Path, files: tuple[str, str, str], limit: str, usage: int, given_back: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / files[0]).write_text(f"{limit}\n")
    (folder / files[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{files[2]} {given_back}\nunevictable 0\n")


def membership(root: Path, line: str) -> Path:
    path = root / "cgroup"
    path.write_text(f"{line}\n")
    return path


def test_a_containers_limit_counts_what_was_read_from_files_as_free(tmp_path: Path) -> None:
    group(tmp_path / "fs", V2, "1000", 700, given_back=150)

    assert free_in_group(tmp_path / "fs", membership(tmp_path, "0::/")) == 450


def test_the_tightest_of_the_groups_around_a_process_counts(tmp_path: Path) -> None:
    fs = tmp_path / "fs"
    fs.mkdir()
    group(fs / "pods", V2, "1000", 900)
    group(fs / "pods" / "one", V2, "5000", 100)
    group(fs / "pods" / "one" / "inner", V2, "max", 50)

    assert free_in_group(fs, membership(tmp_path, "0::/pods/one/inner")) == 100


@pytest.mark.parametrize("place", ["docker/abc", ""], ids=["on the host", "in the container"])
def test_the_older_kind_of_group_counts_too(tmp_path: Path, place: str) -> None:
    fs = tmp_path / "fs"
    group(fs / "memory", V1, NO_LIMIT_OF_V1, 10**9)
    group(fs / "memory" / place, V1, "4000", 1000, given_back=500)

    found = free_in_group(fs, membership(tmp_path, "7:cpu,cpuacct:/x\n5:memory:/docker/abc\n0::/"))

    assert found == 3500


@pytest.mark.parametrize("lines", ["0::/", "0::/gone", "1:name=systemd:/"])
def test_where_there_is_no_limit_none_is_found(tmp_path: Path, lines: str) -> None:
    group(tmp_path / "fs", V2, "max", 700)

    assert free_in_group(tmp_path / "fs", membership(tmp_path, lines)) is None
    assert free_in_group(tmp_path / "fs", tmp_path / "no such file") is None


def test_more_than_the_limit_in_use_is_nothing_free(tmp_path: Path) -> None:
    group(tmp_path / "fs", V2, "1000", 1100)

    assert free_in_group(tmp_path / "fs", membership(tmp_path, "0::/")) == 0


@pytest.mark.parametrize(("left", "free"), [(None, 3072), (2000, 2000), (9000, 3072)])
def test_on_a_cpu_the_smaller_figure_counts(
    left: int | None, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:       3 kB\n")
    monkeypatch.setattr(module, "MEMORY", meminfo)
    monkeypatch.setattr(module, "free_in_group", lambda: left)

    assert free_memory(torch.device("cpu")) == free


def test_on_a_gpu_what_torch_keeps_and_does_not_use_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 450)

    assert free_memory(torch.device("cuda")) == 350
