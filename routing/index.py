"""One immutable state of a library: its experts by digest, in order, and how they are routed by default.

A manifest object is a small root that names pages. Pages are runs of the sorted list of experts, cut where
the hash of an adapter's name says so: adding one expert changes one page and the root, and equal members make
equal bytes whatever happened before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from routing.digests import canonical_json, digest_of
from routing.errors import BadManifest, RoutingError
from routing.spec import EncoderRef

FORMAT = 1
MEAN_PAGE = 64  # a power of two
LONGEST_PAGE = 512


@dataclass(frozen=True)
class ExpertEntry:
    """A member of an index: which release of which adapter, and the digests and sizes of its objects.

    `profile` introduces it to query routers, where that was made.
    """

    adapter: str
    release: str
    vectors: str
    factors: str
    vectors_size: int
    factors_size: int
    profile: str | None = None
    profile_size: int = 0


@dataclass(frozen=True)
class RoutingPolicy:
    """How a library routes unless a request says otherwise.

    What is not said is plain: Arrow as peft has it. Who says nothing at all gets `DEFAULT_POLICY`.
    """

    router: str = "arrow"
    top_k: int = 3
    temperature: float = 1.0
    shortlist: int = 0  # how many experts a whole prompt is narrowed to first; 0: all
    calibrated: bool = False  # whether scores are measured in deviations from their mean on neutral text
    abstain: float | None = None  # below this score of its best expert a token keeps the plain base
    prior: str = "evidence"  # by what a whole prompt is judged, where that is asked for
    prior_weight: float = 0.0  # how much of the prior's logarithm is added to every token's scores
    prior_abstain: bool = False  # whether a prompt that is nobody's is left to the plain base
    general: tuple[str, ...] = ()  # experts of general knowledge, who do not speak for themselves
    subtract: float = 0.0  # how much of their mean update is subtracted from every expert

    def __post_init__(self) -> None:
        object.__setattr__(self, "general", tuple(self.general))  # JSON has lists


# Chosen on development tasks (`python -m study.choose`), see docs/decisions/0010-default-routing.md.
DEFAULT_POLICY = RoutingPolicy(top_k=1, shortlist=1, prior="auto", prior_abstain=True)


@dataclass(frozen=True)
class IndexManifest:
    """All that makes a routed model besides the base. No library, no number: same members, same digest.

    `encoder` reads prompts for query routers; without one the base itself does.
    """

    base: str
    experts: tuple[ExpertEntry, ...]
    policy: RoutingPolicy = RoutingPolicy()
    calibration: str | None = None
    format: int = FORMAT
    classifier: str | None = None
    encoder: EncoderRef | None = None

    def __post_init__(self) -> None:
        names = [entry.adapter for entry in self.experts]
        if names != sorted(set(names)):
            raise BadManifest("experts: expected each adapter once, sorted by name")


@dataclass(frozen=True)
class Diff:
    """What lies between two index versions, each sorted by adapter name; `changed` holds the new entries."""

    added: tuple[ExpertEntry, ...]
    removed: tuple[ExpertEntry, ...]
    changed: tuple[ExpertEntry, ...]


@dataclass(frozen=True)
class Page:
    """A run of entries as it is stored."""

    entries: tuple[ExpertEntry, ...]
    content: bytes
    digest: str


def objects_of(entry: ExpertEntry) -> tuple[str, ...]:
    """The digests of all objects that an expert consists of."""
    profile = () if entry.profile is None else (entry.profile,)
    return (entry.vectors, entry.factors, *profile)


def manifest_of(
    base: str,
    experts: Sequence[ExpertEntry],
    *,
    policy: RoutingPolicy | None = None,
    calibration: str | None = None,
    classifier: str | None = None,
    encoder: EncoderRef | None = None,
) -> IndexManifest:
    """A manifest of these experts in any order; BadManifest if an adapter is there twice."""
    ordered = tuple(sorted(experts, key=lambda entry: entry.adapter))
    return IndexManifest(
        base,
        ordered,
        policy or RoutingPolicy(),
        calibration,
        classifier=classifier,
        encoder=encoder,
    )


def diff(old: IndexManifest, new: IndexManifest) -> Diff:
    """What was added, removed or replaced between two manifests."""
    before = {entry.adapter: entry for entry in old.experts}
    after = {entry.adapter: entry for entry in new.experts}
    return Diff(
        added=tuple(entry for name, entry in after.items() if name not in before),
        removed=tuple(entry for name, entry in before.items() if name not in after),
        changed=tuple(entry for name, entry in after.items() if name in before and before[name] != entry),
    )


def pages(manifest: IndexManifest) -> Iterator[Page]:
    """The manifest's pages in order, as they are stored."""
    run: list[ExpertEntry] = []
    for entry in manifest.experts:
        run.append(entry)
        if _ends_page(entry) or len(run) == LONGEST_PAGE:
            yield _page(run)
            run = []
    if run:
        yield _page(run)


def root_bytes(manifest: IndexManifest, page_digests: Sequence[str]) -> bytes:
    """The manifest object itself; its sha256 is the manifest's digest."""
    learnt = {} if manifest.classifier is None else {"classifier": manifest.classifier}
    reader = {} if manifest.encoder is None else {"encoder": asdict(manifest.encoder)}
    return canonical_json(
        {
            **learnt,
            **reader,
            "format": manifest.format,
            "base": manifest.base,
            "calibration": manifest.calibration,
            "policy": asdict(manifest.policy),
            "pages": list(page_digests),
        }
    )


def manifest_digest(manifest: IndexManifest) -> str:
    """The name of this manifest in every store."""
    return digest_of(root_bytes(manifest, [page.digest for page in pages(manifest)]))


def parse_root(content: bytes) -> dict[str, Any]:
    """A manifest object as JSON; BadManifest if it is of a format that this version does not know."""
    document = _parse(content)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise BadManifest(f"format: found {found}, expected {FORMAT}")
    return document


def parse_page(content: bytes) -> tuple[ExpertEntry, ...]:
    """The entries of a page; BadManifest if they are no entries."""
    try:
        return tuple(ExpertEntry(**fields) for fields in _parse(content))
    except TypeError as error:
        raise BadManifest(f"page: {error}") from error


def join(root: dict[str, Any], entries: Sequence[ExpertEntry]) -> IndexManifest:
    """The manifest of a root and the entries of its pages; BadManifest if a field is missing or unknown."""
    try:
        return IndexManifest(
            root["base"],
            tuple(entries),
            RoutingPolicy(**root["policy"]),
            root["calibration"],
            root["format"],
            root.get("classifier"),
            EncoderRef(**root["encoder"]) if "encoder" in root else None,
        )
    except (KeyError, TypeError) as error:
        raise BadManifest(f"root: {error}") from error


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise BadManifest(f"not JSON: {error}") from error


def chosen_entries(manifest: IndexManifest, experts: Sequence[str] | None) -> tuple[ExpertEntry, ...]:
    """The entries of these experts (None: all) in the manifest's order; RoutingError if unknown or none."""
    if experts is None:
        return manifest.experts
    unknown = sorted(set(experts) - {entry.adapter for entry in manifest.experts})
    if unknown or not experts:
        found = ", ".join(unknown) or "none"
        raise RoutingError(f"experts: found {found}, expected members of this index version")
    return tuple(entry for entry in manifest.experts if entry.adapter in experts)


def _ends_page(entry: ExpertEntry) -> bool:
    """Decided by the adapter's name alone, so that a new release of it moves no boundary."""
    return int(digest_of(entry.adapter.encode())[-8:], 16) % MEAN_PAGE == 0


def _page(entries: Sequence[ExpertEntry]) -> Page:
    content = canonical_json([_stored(entry) for entry in entries])
    return Page(tuple(entries), content, digest_of(content))


def _stored(entry: ExpertEntry) -> dict[str, Any]:
    """What is not there is not written: an entry without a profile has the bytes that it always had."""
    fields = asdict(entry)
    return fields if entry.profile is not None else {k: v for k, v in fields.items() if "profile" not in k}
