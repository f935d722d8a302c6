"""The index store: every version of every library's index, self-contained, written once, verified when read.

objects/ab/<sha256>                           base specifications, experts, manifests and their pages
libraries/<library>/library.json              which base the library grows on
libraries/<library>/versions/00000012.json    {"number", "manifest"}
libraries/<library>/current.json              the version that is served
libraries/<library>/guests.json               by which key lists of private experts are believed
libraries/<library>/held_back.json            experts in quarantine, whose versions are not to be served
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch
from safetensors.torch import load, load_file, save

from routing.classifier import Classifier
from routing.digests import canonical_json
from routing.errors import BadManifest, BadName, MissingObject, UnknownVersion, VersionConflict
from routing.factor_tensors import factor_tensors, factors_of
from routing.factors import Factors
from routing.held_back import HeldBack, from_document, to_document
from routing.index import (
    ExpertEntry,
    IndexManifest,
    join,
    objects_of,
    pages,
    parse_page,
    parse_root,
    root_bytes,
)
from routing.object_cache import ObjectCache
from routing.objects import FolderStore, ObjectStore
from routing.profiles import Profile
from routing.prototypes import RoutingVector
from routing.s3_objects import S3Store
from routing.spec import BaseRef, BaseSpec

LIBRARY_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,95}")


@dataclass(frozen=True)
class StoredExpert:
    """The two objects of an expert, as an `ExpertEntry` names them."""

    vectors: str
    factors: str
    vectors_size: int
    factors_size: int


@dataclass(frozen=True)
class LibraryRef:
    """What a library grows on: where the base is loaded from, the object that pins it, its neutral text."""

    source: BaseRef
    base: str
    calibration: str | None = None


@dataclass(frozen=True)
class Current:
    """The index version that a library serves."""

    number: int
    manifest: str


class IndexStore:
    """Libraries, versions, manifests and experts over an object store."""

    def __init__(self, objects: ObjectStore, cache: ObjectCache | None = None) -> None:
        """`cache`: where copies of objects are kept that lie elsewhere."""
        self.objects = objects
        self.cache = cache

    # ------------------------------------------------------------------ bases and experts

    def put_base(self, spec: BaseSpec) -> str:
        """Keep a base's specification; its digest is `spec.digest`."""
        return self.objects.put(canonical_json(spec.to_json()))

    def read_base(self, digest: str) -> BaseSpec:
        """The base specification of this digest."""
        return BaseSpec.from_json(json.loads(self.objects.read(digest)))

    def put_expert(
        self, vectors: Mapping[str, RoutingVector], factors: Mapping[str, Factors]
    ) -> StoredExpert:
        """Keep an expert; equal experts are kept once, whoever uploads them."""
        small = {f"{name}.prototype": vector.prototype for name, vector in vectors.items()}
        small |= {f"{name}.sigma": vector.sigma for name, vector in vectors.items()}
        small |= {f"{name}.gate": vector.gate for name, vector in vectors.items() if vector.gate is not None}
        contents = [_tensor_bytes(small), _tensor_bytes(factor_tensors(factors))]
        digests = [self.objects.put(content) for content in contents]
        return StoredExpert(digests[0], digests[1], len(contents[0]), len(contents[1]))

    def read_vectors(self, entry: ExpertEntry) -> dict[str, RoutingVector]:
        """The routing vectors of an expert by module name."""
        tensors = load(self.objects.read(entry.vectors))
        return {
            name: RoutingVector(
                tensors[f"{name}.prototype"], tensors[f"{name}.sigma"], tensors.get(f"{name}.gate")
            )
            for name in _stems(tensors, ".prototype")
        }

    def read_factors(self, entry: ExpertEntry) -> dict[str, Factors]:
        """The canonical factors of an expert by module name."""
        return factors_of(load(self.objects.read(entry.factors)))

    def map_factors(self, entry: ExpertEntry) -> dict[str, Factors]:
        """The same out of a local file that is mapped: what is copied at once takes no memory beside it."""
        return factors_of(load_file(self.objects.path(entry.factors)))

    def put_profile(self, profile: Profile) -> tuple[str, int]:
        """Keep an expert's profile; its digest and size."""
        content = save(
            {
                "card": profile.card.float().contiguous(),
                "prompts": profile.prompts.float().contiguous(),
                "description": _text_tensor(profile.description),
                "encoder": _text_tensor(profile.encoder),
            }
        )
        return self.objects.put(content), len(content)

    def read_profile(self, digest: str) -> Profile:
        """The profile of this digest."""
        found = load(self.objects.read(digest))
        return Profile(_text(found["description"]), _text(found["encoder"]), found["card"], found["prompts"])

    def put_classifier(self, head: Classifier) -> tuple[str, int]:
        """Keep a classifier; its digest and size."""
        content = save(
            {
                "centre": head.centre.contiguous(),
                "scale": head.scale.contiguous(),
                "weight": head.weight.contiguous(),
                "bias": head.bias.contiguous(),
                "encoder": _text_tensor(head.encoder),
                "experts": _text_tensor("\n".join(head.experts)),
            }
        )
        return self.objects.put(content), len(content)

    def read_classifier(self, digest: str) -> Classifier:
        """The classifier of this digest."""
        found = load(self.objects.read(digest))
        return Classifier(
            _text(found["encoder"]),
            tuple(_text(found["experts"]).split("\n")),
            found["centre"],
            found["scale"],
            found["weight"],
            found["bias"],
        )

    def put_neutral(self, tokens: torch.Tensor) -> str:
        """Keep the neutral text that scores are calibrated on, as int32 tokens [sequences, length]."""
        return self.objects.put(save({"tokens": tokens.to(torch.int32).contiguous()}))

    def read_neutral(self, digest: str) -> torch.Tensor:
        """The neutral text of this digest."""
        return load(self.objects.read(digest))["tokens"]

    # ------------------------------------------------------------------ manifests and versions

    def put_manifest(self, manifest: IndexManifest) -> str:
        """Keep a manifest and its pages; MissingObject if it names an expert or a base that is not here.

        A page that is already here was compared with the store when it came.
        """
        self._require(manifest.base)
        for digest in (manifest.calibration, manifest.classifier):
            if digest is not None:
                self._require(digest)
        digests = []
        for page in pages(manifest):
            if not self.objects.exists(page.digest):
                for entry in page.entries:
                    for digest in objects_of(entry):
                        self._require(digest)
                self.objects.put(page.content)
            digests.append(page.digest)
        return self.objects.put(root_bytes(manifest, digests))

    def read_manifest(self, digest: str) -> IndexManifest:
        """The manifest of this digest with all its experts."""
        root = parse_root(self.objects.read(digest))
        entries = [entry for page in root["pages"] for entry in parse_page(self.objects.read(page))]
        return join(root, entries)

    def base_of(self, digest: str) -> str:
        """The digest of the base that the manifest of this digest is for; its experts are not read."""
        base: str = parse_root(self.objects.read(digest))["base"]
        return base

    def write_version(self, library: str, number: int, manifest: IndexManifest) -> str:
        """Publish a manifest as a version of a library and return its digest; doing it again changes nothing.

        VersionConflict if another manifest has this number, BadName if `library` is no name.
        """
        digest = self.put_manifest(manifest)
        content = canonical_json({"number": number, "manifest": digest})
        name = _version_document(library, number)
        if not self.objects.create_document(name, content) and self.objects.read_document(name) != content:
            raise VersionConflict(f"{library} version {number} is another manifest than {digest}")
        return digest

    def version_digest(self, library: str, number: int) -> str:
        """The digest of a version's manifest; UnknownVersion if there is no such version."""
        content = self.objects.read_document(_version_document(library, number))
        if content is None:
            raise UnknownVersion(f"{library} has no version {number}")
        return _pointer(content).manifest

    def read_version(self, library: str, number: int) -> IndexManifest:
        """A version's manifest; UnknownVersion if there is no such version."""
        return self.read_manifest(self.version_digest(library, number))

    def versions(self, library: str) -> list[int]:
        """The numbers of a library's versions, rising."""
        names = self.objects.children(f"{_library_folder(library)}/versions")
        return [int(name.removesuffix(".json")) for name in names]

    # ------------------------------------------------------------------ libraries

    def set_current(self, library: str, number: int) -> None:
        """Serve this version from now on; UnknownVersion if there is no such version."""
        current = Current(number, self.version_digest(library, number))
        self.objects.write_document(
            f"{_library_folder(library)}/current.json", canonical_json(asdict(current))
        )

    def current(self, library: str) -> Current | None:
        """The version that is served, if there is one yet."""
        content = self.objects.read_document(f"{_library_folder(library)}/current.json")
        return None if content is None else _pointer(content)

    def set_library(self, library: str, ref: LibraryRef) -> None:
        """Say which base a library grows on."""
        self.objects.write_document(_library_document(library), canonical_json(asdict(ref)))

    def library_ref(self, library: str) -> LibraryRef | None:
        """Which base a library grows on, if it is known here; BadManifest if its document is broken."""
        content = self.objects.read_document(_library_document(library))
        if content is None:
            return None
        try:
            document = json.loads(content)
            return LibraryRef(BaseRef(**document["source"]), document["base"], document.get("calibration"))
        except (ValueError, TypeError, KeyError) as error:
            raise BadManifest(f"{_library_document(library)}: {error!r}") from error

    def set_guest_key(self, library: str, key: bytes) -> None:
        """Say by which public key (Ed25519, 32 bytes) a library's guest lists are believed."""
        self.objects.write_document(
            _guests_document(library), canonical_json({"ed25519": b64encode(key).decode()})
        )

    def guest_key(self, library: str) -> bytes | None:
        """The key of a library's guest lists, if there is one; BadManifest if its document is broken."""
        content = self.objects.read_document(_guests_document(library))
        if content is None:
            return None
        try:
            return b64decode(json.loads(content)["ed25519"], validate=True)
        except (ValueError, TypeError, KeyError) as error:
            raise BadManifest(f"{_guests_document(library)}: {error!r}") from error

    def set_held_back(self, library: str, held_back: Iterable[HeldBack]) -> None:
        """Say which experts are held back, in the place of those before, and which versions with them."""
        self.objects.write_document(_held_back_document(library), to_document(held_back))

    def held_back(self, library: str) -> tuple[HeldBack, ...]:
        """The experts that are held back; BadManifest if the document of them is broken."""
        content = self.objects.read_document(_held_back_document(library))
        if content is None:
            return ()
        try:
            return from_document(content)
        except (ValueError, TypeError, KeyError) as error:
            raise BadManifest(f"{_held_back_document(library)}: {error!r}") from error

    def libraries(self) -> list[str]:
        """The names of all libraries in the store, sorted."""
        return [name for name in self.library_names() if self.has_library(name)]

    def library_names(self) -> list[str]:
        """What a library may be called by, sorted; whether there is one is not looked at."""
        return [name for name in self.objects.children("libraries") if LIBRARY_NAME.fullmatch(name)]

    def has_library(self, library: str) -> bool:
        """Whether there is a library of this name, be its document broken or not."""
        return self.objects.read_document(_library_document(library)) is not None

    # ------------------------------------------------------------------ what is needed

    def reachable(self, manifest_digest: str) -> Iterator[str]:
        """Every object that a version needs: its manifest, pages, base, calibration and experts."""
        root = parse_root(self.objects.read(manifest_digest))
        yield from (manifest_digest, root["base"])
        for digest in (root["calibration"], root.get("classifier")):
            if digest is not None:
                yield digest
        for page in root["pages"]:
            yield page
            for entry in parse_page(self.objects.read(page)):
                yield from objects_of(entry)

    def _require(self, digest: str) -> None:
        if not self.objects.exists(digest):
            raise MissingObject(digest)


def open_store(url: str, *, cache: Path | None = None, cache_bytes: int | None = None) -> IndexStore:
    """The index store at a folder or at `s3://bucket/prefix`.

    Objects from S3 are cached in `cache`, by default `~/.cache/fletch/objects`, and take up to so many bytes
    there, by default as `ObjectCache` says.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        where = cache or Path.home() / ".cache" / "fletch" / "objects"
        copies = ObjectCache(where, limit=cache_bytes)
        return IndexStore(S3Store(parts.netloc, parts.path, copies), copies)
    return IndexStore(FolderStore(Path(url)))


def _library_folder(library: str) -> str:
    if not LIBRARY_NAME.fullmatch(library):
        raise BadName(f"library {library!r}: expected up to 96 letters, digits, '-', '_' and single dots")
    return f"libraries/{library}"


def _library_document(library: str) -> str:
    return f"{_library_folder(library)}/library.json"


def _guests_document(library: str) -> str:
    return f"{_library_folder(library)}/guests.json"


def _held_back_document(library: str) -> str:
    return f"{_library_folder(library)}/held_back.json"


def _version_document(library: str, number: int) -> str:
    if number < 0:
        raise UnknownVersion(f"{library} version {number}: versions are numbered from 1; 0 is the base alone")
    return f"{_library_folder(library)}/versions/{number:08d}.json"


def _pointer(content: bytes) -> Current:
    try:
        return Current(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise BadManifest(f"version document: {error}") from error


def _tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """A safetensors file without metadata: with several keys of it the bytes would differ from run to run."""
    return save({name: tensor.float().contiguous() for name, tensor in tensors.items()})


def _text_tensor(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _text(tensor: torch.Tensor) -> str:
    return bytes(tensor.tolist()).decode()


def _stems(tensors: Mapping[str, torch.Tensor], ending: str) -> list[str]:
    return [name.removesuffix(ending) for name in tensors if name.endswith(ending)]
