"""Routed checkpoints: a folder with everything that the composed model needs, and the way back from it.

base/       the base's files as they were
encoder/    those of the library's own sentence encoder, where it has one
store/      the part of the index store that this model needs
fletch.json what the folder is
README.md   how to load it
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from routing.base import DOWNLOADED, load_base, local_folder
from routing.composed import ComposedModel, compose_version
from routing.errors import BadCheckpoint
from routing.index import IndexManifest, chosen_entries, manifest_of, objects_of
from routing.objects import FolderStore
from routing.spec import BaseRef, BaseSpec
from routing.store import IndexStore

FORMAT = 1
DESCRIPTION = "fletch.json"
Progress = Callable[[int, int, str], None]

README = """# A composed checkpoint of {base}

The base model `{base}`, {count}, and a router that chooses for every token and layer which of them
speak (`{router}`, top {top_k}, temperature {temperature}).

```python
from routing import load_checkpoint

model = load_checkpoint("path/to/this/folder")
print(model.generate("Once upon a time", max_tokens=40).text)
model.logits("Once upon a time")       # [tokens, vocabulary]
```

It needs Fletch's package `routing` and what `requirements/serving.txt` lists, no hub and no network.
Every file is compared with its digest while it is read.

Experts:

{experts}
"""


@dataclass(frozen=True)
class Source:
    """What a checkpoint is made of: one index version, its base, and where both are."""

    store: IndexStore
    manifest: IndexManifest
    spec: BaseSpec
    base: BaseRef

    @property
    def speakers(self) -> tuple[str, ...]:
        """The names of the experts that speak for themselves: all but those of general knowledge."""
        return tuple(sorted(self.names - set(self.manifest.policy.general)))

    @property
    def names(self) -> frozenset[str]:
        """The names of all experts of the index version."""
        return frozenset(entry.adapter for entry in self.manifest.experts)

    def subset(self, experts: Sequence[str] | None) -> IndexManifest:
        """The manifest of these experts alone (None: of all); RoutingError for one that is not a member."""
        entries = chosen_entries(self.manifest, experts)
        manifest = self.manifest
        return manifest_of(
            manifest.base,
            entries,
            policy=manifest.policy,
            calibration=manifest.calibration,
            classifier=manifest.classifier,
            encoder=manifest.encoder,
        )


def quiet(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def write_routed(
    directory: Path, source: Source, *, experts: Sequence[str] | None = None, progress: Progress = quiet
) -> list[Path]:
    """Write the routed model into an empty or absent folder; same inputs, same bytes.

    The policy's general experts come along, so that what is chosen answers as it does in the library.

    Returns the files. Raises BadCheckpoint if the folder is not empty, RoutingError for an unknown expert.
    """
    prepare(directory)
    general = [name for name in source.manifest.policy.general if name in source.names]
    manifest = source.subset(None if experts is None else [*experts, *general])
    files = [("base", path) for path in _model_files(source.base)]
    if manifest.encoder is not None:
        there = BaseRef(manifest.encoder.source, manifest.encoder.revision)
        files += [("encoder", path) for path in _model_files(there)]
    total = len(files) + len(manifest.experts)
    for done, (folder, path) in enumerate(files):
        (directory / folder).mkdir(exist_ok=True)
        shutil.copyfile(path, directory / folder / path.name)
        progress(done + 1, total, path.name)
    kept = IndexStore(FolderStore(directory / "store"))
    kept.put_base(source.spec)
    for digest in (manifest.calibration, manifest.classifier):
        if digest is not None:
            kept.objects.put(source.store.objects.path(digest))
    for done, entry in enumerate(manifest.experts):
        for digest in objects_of(entry):
            kept.objects.put(source.store.objects.path(digest))
        progress(len(files) + done + 1, total, entry.adapter)
    _describe(directory, source, manifest, kept.put_manifest(manifest))
    return written(directory)


def load_checkpoint(
    directory: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> ComposedModel:
    """The composed model of a folder by `write_routed`; BadCheckpoint, WrongBase or CorruptObject if not."""
    folder = Path(directory)
    description = _description(folder)
    store = IndexStore(FolderStore(folder / "store"))
    manifest = store.read_manifest(description["manifest"])
    spec = store.read_base(manifest.base)
    base = load_base(BaseRef(str(folder / "base")), spec=spec, device=device, dtype=dtype)
    return compose_version(store, manifest, base, encoder_at=BaseRef(str(folder / "encoder")))


def manifest_inside(directory: str | Path) -> str:
    """The digest of the manifest that a folder by `write_routed` holds; BadCheckpoint if it is none."""
    return str(_description(Path(directory))["manifest"])


def prepare(directory: Path) -> None:
    """Make sure that nothing else is in the folder."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise BadCheckpoint(f"{directory}: expected an empty folder to write a checkpoint into")


def written(directory: Path) -> list[Path]:
    """All files below a folder, sorted; empty folders go."""
    for folder in sorted((path for path in directory.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    return sorted(path for path in directory.rglob("*") if path.is_file())


def write_description(directory: Path, description: dict[str, Any]) -> None:
    """Say in JSON what a checkpoint is."""
    content = json.dumps({"format": FORMAT, **description}, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / DESCRIPTION).write_text(content + "\n", encoding="utf-8")


def counted(manifest: IndexManifest) -> str:
    """How many experts there are, in words."""
    count = len(manifest.experts)
    return f"{count} expert" if count == 1 else f"{count} experts"


def expert_list(manifest: IndexManifest) -> str:
    """The experts of a manifest for a README."""
    return "\n".join(f"- `{entry.adapter}`, release `{entry.release}`" for entry in manifest.experts)


def _model_files(ref: BaseRef) -> Iterator[Path]:
    """The files of a base or an encoder that loading it may need."""
    for path in sorted(local_folder(ref).iterdir()):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in DOWNLOADED):
            yield path


def _describe(directory: Path, source: Source, manifest: IndexManifest, digest: str) -> None:
    policy = manifest.policy
    write_description(
        directory,
        {
            "kind": "routed",
            "manifest": digest,
            "base": {"name": source.spec.name, "revision": source.spec.revision, "digest": manifest.base},
            "policy": asdict(policy),
            "experts": [{"adapter": entry.adapter, "release": entry.release} for entry in manifest.experts],
        },
    )
    text = README.format(
        base=source.spec.name,
        count=counted(manifest),
        router=policy.router,
        top_k=policy.top_k,
        temperature=policy.temperature,
        experts=expert_list(manifest),
    )
    (directory / "README.md").write_text(text, encoding="utf-8")


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{path}: expected the description of a composed checkpoint: {error}") from error
    found = (description.get("format"), description.get("kind")) if isinstance(description, dict) else None
    if found != (FORMAT, "routed"):
        raise BadCheckpoint(f"{path}: found format and kind {found}, expected {(FORMAT, 'routed')}")
    return dict(description)
