"""What the serving process counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from routing.object_cache import ObjectCache
from routing.resident import Source
from workers.serving.book import Book
from workers.serving.journal import Entry
from workers.serving.speakers import Speakers

ANSWERS = (1, 2, 4, 8, 12, 16, 32, 64)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
LOADS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
NOWHERE = "(unknown)"  # the label of all paths that are not served
SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
# of what people notice: none more than two thirds beyond the one before, so that percentiles mean something
LATENCIES = (
    *(0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3),
    *(0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0),
)


class Metrics:
    """One registry for each process, so that several servers in one test do not share their counts."""

    def __init__(self, *, named_experts: int = 200, book: Book | None = None) -> None:
        """`named_experts`: so many of each library are counted by name. `book`: where uses are written down
        for the hub, if it wants to know.
        """
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.book = book
        self.speakers = Speakers(self.registry, named_experts)
        self._of_requests()
        self._of_versions()
        self._of_residence()

    def _of_requests(self) -> None:
        self.requests = Counter(
            "fletch_requests", "Answered requests", ["endpoint", "status"], registry=self.registry
        )
        self.broken = Counter(
            "fletch_broken_streams",
            "Streams that began with status 200 and ended with an error of ours",
            ["endpoint"],
            registry=self.registry,
        )
        self.stalled = Counter(
            "fletch_stalled_clients",
            "Clients that were cut off because they took nothing of their answer",
            ["endpoint"],
            registry=self.registry,
        )
        self.first_token = self._latency(
            "fletch_first_token_seconds", "Time from a request to the first token of its answer"
        )
        self.between_tokens = self._latency(
            "fletch_between_tokens_seconds", "Time between the tokens of an answer"
        )
        self.prompt_tokens = self._of_library("fletch_prompt_tokens", "Tokens read")
        self.completion_tokens = self._of_library("fletch_completion_tokens", "Tokens written")
        self.recalled_tokens = self._of_library(
            "fletch_recalled_tokens",
            "Tokens of prompts that an earlier answer of the conversation had read",
        )
        self._of_passes()
        self._of_queue()
        self._of_memory()

    def _of_passes(self) -> None:
        self.pass_answers = Histogram(
            "fletch_pass_answers",
            "Answers that one pass of a base was for",
            buckets=ANSWERS,
            registry=self.registry,
        )
        self.pass_tokens = Histogram(
            "fletch_pass_tokens",
            "Tokens that one pass of a base read",
            buckets=TOKENS,
            registry=self.registry,
        )
        self.parted_passes = Counter(
            "fletch_parted_passes",
            "Passes that failed for several answers together, each of which was then read alone",
            ["base", "error"],
            registry=self.registry,
        )
        self.replays = self._of_library("fletch_replays", "Passes that were replayed by a CUDA graph")

    def _of_queue(self) -> None:
        self.running = Gauge("fletch_running", "Answers under way", registry=self.registry)
        self.waiting = Gauge("fletch_waiting", "Answers waiting for a place", registry=self.registry)
        self.unread = Gauge(
            "fletch_unread",
            "Answers that are written and not read by their clients yet",
            registry=self.registry,
        )
        self.preparing = Gauge("fletch_preparing", "Answers being prepared", registry=self.registry)
        self.queue_seconds = Histogram(
            "fletch_queue_seconds",
            "Time that a request waited for a place",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.prepare_seconds = Histogram(
            "fletch_prepare_seconds",
            "Time that answers were prepared: their prompts judged, versions and experts read",
            buckets=SECONDS,
            registry=self.registry,
        )

    def _of_memory(self) -> None:
        self.recalls = Counter(
            "fletch_prefix_lookups",
            "Answers in a conversation, by whether a beginning of it was recalled",
            ["library", "result"],
            registry=self.registry,
        )
        self.prefix_bytes = Gauge(
            "fletch_prefix_bytes",
            "Memory of the beginnings of conversations that are kept",
            ["base"],
            registry=self.registry,
        )
        self.base_layers = Gauge(
            "fletch_base_layers",
            "Linear layers of a base, by how their weights lie in memory",
            ["base", "layout"],
            registry=self.registry,
        )
        self.graph_bytes = Gauge(
            "fletch_graph_bytes",
            "Memory that CUDA graphs of a base's passes take",
            ["base"],
            registry=self.registry,
        )
        self.kv_bytes = Gauge(
            "fletch_kv_bytes",
            "Memory of the keys and values of the answers under way",
            ["base"],
            registry=self.registry,
        )
        self.kv_limit = Gauge(
            "fletch_kv_limit_bytes",
            "Memory that the keys and values of all answers under way may take",
            registry=self.registry,
        )

    def of_cache(self, cache: ObjectCache) -> None:
        """Tell of this cache, too."""
        for name, what, size in (
            ("fletch_cache_bytes", "Disk that copies of the store's objects take", lambda: cache.size),
            ("fletch_cache_limit_bytes", "Disk that they may take", lambda: cache.limit),
        ):
            Gauge(name, what, registry=self.registry).set_function(size)

    def _of_versions(self) -> None:
        self.version = Gauge("fletch_version", "Index version served", ["library"], registry=self.registry)
        self.experts = Gauge("fletch_experts", "Experts served", ["library"], registry=self.registry)
        self.swaps = Counter(
            "fletch_swaps", "Switches to a new index version", ["library"], registry=self.registry
        )
        self.swap_seconds = Histogram(
            "fletch_swap_seconds",
            "Time from seeing a new index version to serving it",
            ["library"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.refused = Counter(
            "fletch_refused_versions",
            "Index versions that could not be served",
            ["library"],
            registry=self.registry,
        )
        self.degraded = Gauge(
            "fletch_degraded",
            "1 while a library is not served as it should be",
            ["library"],
            registry=self.registry,
        )
        self.private_versions = Gauge(
            "fletch_private_versions",
            "Index versions with private experts in memory",
            registry=self.registry,
        )
        self.vector_bytes = Gauge(
            "fletch_vector_bytes",
            "Memory of the routing vectors of all experts of the versions held",
            ["library"],
            registry=self.registry,
        )
        self.vector_parts = Gauge(
            "fletch_vector_parts",
            "Prompts are judged by the vectors of one in so many of each expert's modules",
            ["library"],
            registry=self.registry,
        )
        self.load_seconds = Histogram(
            "fletch_load_seconds",
            "Time to assemble an index version",
            buckets=SECONDS,
            registry=self.registry,
        )

    def _of_residence(self) -> None:
        """What becomes of `--expert-megabytes`."""
        self.expert_hits = self._of_library("fletch_resident_hits", "Experts wanted that were in memory")
        self.expert_misses = self._of_library(
            "fletch_resident_misses", "Experts wanted that were not in memory"
        )
        self.expert_reads = Counter(
            "fletch_resident_reads",
            "Experts wanted that were not in memory, by where they were found",
            ["library", "source"],
            registry=self.registry,
        )
        self.expert_evictions = self._of_library("fletch_resident_evictions", "Experts that had to make room")
        self.narrowed = self._of_library(
            "fletch_narrowed", "Answers whose experts did not all fit into memory"
        )
        self.expert_load = Histogram(
            "fletch_resident_load_seconds",
            "Time to bring an expert into memory, with its proof the first time",
            ["library"],
            buckets=LOADS,
            registry=self.registry,
        )
        self.resident_experts = Gauge(
            "fletch_resident_experts",
            "Experts whose factors are in memory",
            ["library"],
            registry=self.registry,
        )
        self.resident_bytes = Gauge(
            "fletch_resident_bytes", "Memory of their factors", ["library"], registry=self.registry
        )

    def _of_library(self, name: str, meaning: str) -> Counter:
        return Counter(name, meaning, ["library"], registry=self.registry)

    def _latency(self, name: str, meaning: str) -> Histogram:
        return Histogram(name, meaning, ["library"], buckets=LATENCIES, registry=self.registry)

    def asked(self, owner: str, there: int, missing: int) -> None:
        """Experts of a library were wanted: see `routing.residence.Witness`."""
        self.expert_hits.labels(owner).inc(there)
        self.expert_misses.labels(owner).inc(missing)

    def read(self, owner: str, source: Source) -> None:
        """An expert of a library that was wanted came from there."""
        self.expert_reads.labels(owner, source).inc()

    def made(self, owner: str, seconds: float) -> None:
        """An expert of a library was brought into memory."""
        self.expert_load.labels(owner).observe(seconds)

    def put_out(self, owner: str) -> None:
        """An expert of a library had to make room."""
        self.expert_evictions.labels(owner).inc()

    def ended(self, entry: Entry) -> None:
        """A request has ended, perhaps not as its status said."""
        if entry.broke_off:
            self.broken.labels(entry.route or NOWHERE).inc()

    def passed(self, answers: int, tokens: int) -> None:
        """A pass of a base is through."""
        self.pass_answers.observe(answers)
        self.pass_tokens.observe(tokens)

    def parted(self, base: str, kind: str) -> None:
        """A pass of a base failed, with this kind of error, for several answers together."""
        self.parted_passes.labels(base, kind).inc()
