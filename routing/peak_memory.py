"""The most memory in use while something ran: of the device, or of this process."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
FORGET_THE_PEAK = "5"  # proc(5): "reset the peak resident set size"


def begin(device: torch.device) -> None:
    """Forget earlier peaks: from here on, what is remembered belongs to what runs now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        CLEAR.write_text(FORGET_THE_PEAK)


def peak_bytes(device: torch.device) -> int:
    """The most bytes since `begin`; where the kernel cannot forget (no Linux), since the process began."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
