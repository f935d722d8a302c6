"""How much memory this process may still take: the machine's, and what its control group leaves it.

In a container the machine's figure is of no use: whoever takes more than the group's limit is ended, however
much the machine has left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

MEMORY = Path("/proc/meminfo")
MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
KIB = 1024


@dataclass(frozen=True)
class _Files:
    """Where a kind of control group says what it allows and what is used, and how it calls pages of files."""

    limit: str
    usage: str
    unused: str
    used_twice: str
    mapped: str


_V2 = _Files("memory.max", "memory.current", "inactive_file", "active_file", "file_mapped")
_V1 = _Files(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
    "total_active_file",
    "total_mapped_file",
)


def free_memory(device: torch.device) -> int | None:
    """Bytes that could be taken on this device; None where nobody says."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    found = [free for free in (_of_machine(), free_in_group()) if free is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    if not MEMORY.exists():
        return None
    fields = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * KIB


def free_in_group(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes that this process's control group and those around it leave; None: there is no limit.

    Both kinds of groups are looked at. What was read from files and is not in use counts as free, however
    often it was read: the files of a base are, for their digests and then for its weights.
    """
    if not membership.exists():
        return None
    found: list[int] = []
    for line in membership.read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            found += _along(groups, path, _V2)
        elif "memory" in controllers.split(","):
            found += _along(groups / "memory", path, _V1)
    return min(found, default=None)


def _along(root: Path, path: str, files: _Files) -> list[int]:
    """What each group leaves, from the process's own up to the outermost.

    In a container a group may be named as the host sees it and yet lie at the root: then it is found there.
    """
    own = root / path.lstrip("/")
    folders = [folder for folder in (own, *own.parents) if folder == root or root in folder.parents]
    return [left for folder in folders if (left := _left(folder, files)) is not None]


def _left(folder: Path, files: _Files) -> int | None:
    try:
        limit, usage = ((folder / name).read_text().strip() for name in (files.limit, files.usage))
        if limit == "max":
            return None
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        unused, twice, mapped = (
            int(stat.get(name, 0)) for name in (files.unused, files.used_twice, files.mapped)
        )
        return max(0, int(limit) - int(usage) + unused + max(0, twice - mapped))
    except (OSError, ValueError):  # the outermost group has no such files, and a group may end meanwhile
        return None
