"""What an operator may say about a serving process, and the limits it holds its clients to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from routing.layouts import Wanted
from routing.spread import Spread
from workers.serving.reporting import Hub

MEGABYTE = 2**20
AUTO: Literal["auto"] = "auto"
CallerKind = Literal["open", "passes"]


@dataclass(frozen=True)
class Limits:
    """Beyond these a request is refused, before it costs anything."""

    body_bytes: int = 2 * 2**20
    # that a client takes nothing of its answer, that its body does not come, or the head of its request
    stalled_seconds: float = 30.0
    prompt_tokens: int = 32_768
    max_tokens: int = 4_096
    choices: int = 16
    embeddings: int = 2_048  # of one request, as OpenAI allows
    stop_strings: int = 16
    stop_characters: int = 256  # of each of them
    trace_entries: int = 500_000  # of a full trace: pairs of a token and an expert that was mixed at a module
    brief_entries: int = 2_000_000  # of a brief one: pairs of a token and a module
    mixed_experts: int = 16_384  # from which a token is mixed at all modules together: 73 at each of 224
    running: int = 16
    waiting: int = 64
    described_tokens: int = 65_536  # of experts' descriptions that the prior `lm` reads for a request
    judging: int = 2  # prompts that a prior reads at once, of one caller one: it takes time from answers
    # of answers under way, for keys and values; auto: see `workers.serving.answer_memory`; None: no limit
    memory_megabytes: int | Literal["auto"] | None = AUTO
    pinned_versions: int = 2  # that requests name, of each library, beside the current one
    pinned_seconds: float = 600.0  # that one is held after it was asked for last
    pinned_grace: float = 10.0  # seconds after its last use in which one makes no room for another
    pinned_waiting: int = 4  # requests whose index version is being read; each keeps a thread waiting
    named_experts: int = 200  # of each library, in the metrics; those that speak later are counted together
    private_versions: int = 4  # with private experts: each is as large as the version that they join
    prefix_megabytes: int = 256  # of each base, for what the turns of conversations have in common
    expert_megabytes: int | None = None  # for all libraries' experts; None: all are in memory
    warm_megabytes: int = 0  # of the host's, for experts that an accelerator's memory has no room for
    expert_patience: float = 30.0  # seconds that a request waits for room for its experts
    private_waiting: int = 4  # requests whose private experts are being read; each keeps a thread waiting

    @property
    def answers(self) -> int:
        """Of one request: more would never find a place, however long they waited."""
        return max(1, min(self.choices, self.running + self.waiting))

    @property
    def memory_bytes(self) -> int | None:
        """What answers under way may take, as far as that is said."""
        said = self.memory_megabytes
        return said * MEGABYTE if isinstance(said, int) else None


@dataclass(frozen=True)
class Options:
    """Where the index store is, which library to serve (None: all in the store), and on what."""

    store: str
    library: str | None = None
    cache: Path | None = None  # for what is read from S3; None: in the home of whoever runs this
    cache_megabytes: int | None = None  # of its disk; None: as `ObjectCache` says
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    spread: Spread | None = None  # then the device is not asked
    weights: Wanted = field(default_factory=Wanted)  # how the base's lie, on a CPU
    graphs: bool = True  # capture decoding by the live version, on a GPU
    callers: CallerKind = "open"
    alone: bool = False  # in this process: it says what garbage is looked for, and when
    poll_seconds: float = 0.5
    retry_seconds: float = 5.0
    limits: Limits = field(default_factory=Limits)
    report_to: Hub | None = None  # to whom uses are reported; None: to nobody, and they are not counted

    @property
    def cache_bytes(self) -> int | None:
        """What objects read from S3 may take of a disk."""
        return None if self.cache_megabytes is None else self.cache_megabytes * MEGABYTE
