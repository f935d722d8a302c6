"""Free memory is what the machine has and what the control group leaves, whichever is less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from workers.serving import free_memory as module
from workers.serving.free_memory import free_in_group, free_memory

Names = tuple[str, str, str, str, str]
V2 = ("memory.max", "memory.current", "inactive_file", "active_file", "file_mapped")
V1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
    "total_active_file",
    "total_mapped_file",
)
NO_LIMIT_OF_V1 = str(2**63 - 4096)


def group(
    folder: Path, files: Names, limit: str, usage: int, *, unused: int = 0, twice: int = 0, mapped: int = 0
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / files[0]).write_text(f"{limit}\n")
    (folder / files[1]).write_text(f"{usage}\n")
    found = dict(zip(files[2:], (unused, twice, mapped), strict=True))
    pages = "".join(f"{name} {size}\n" for name, size in found.items())
    (folder / "memory.stat").write_text(f"anon 5\n{pages}unevictable 0\n")


def membership(root: Path, line: str) -> Path:
    path = root / "cgroup"
    path.write_text(f"{line}\n")
    return path


def test_a_containers_limit_counts_what_was_read_from_files_as_free(tmp_path: Path) -> None:
    group(tmp_path / "fs", V2, "1000", 700, unused=150)

    assert free_in_group(tmp_path / "fs", membership(tmp_path, "0::/")) == 450


@pytest.mark.parametrize(("mapped", "free"), [(0, 650), (80, 570), (300, 450)])
def test_what_was_read_twice_counts_as_free_too_and_what_programs_have_mapped_does_not(
    mapped: int, free: int, tmp_path: Path
) -> None:
    group(tmp_path / "fs", V2, "1000", 700, unused=150, twice=200, mapped=mapped)
    group(tmp_path / "fs" / "memory", V1, "1000", 700, unused=150, twice=200, mapped=mapped)

    for line in ("0::/", "5:memory:/"):
        assert free_in_group(tmp_path / "fs", membership(tmp_path, line)) == free


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
    group(fs / "memory" / place, V1, "4000", 1000, unused=500)

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
