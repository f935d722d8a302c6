"""COMPOSE: write a version of a library as a checkpoint that one can download, of one of three kinds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hub.faults import reach
from hub.indexes import checkpoints
from hub.indexes.merging import FIELDS
from hub.indexes.models import ComposedCheckpoint
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.checkpoint import DESCRIPTION, Source, write_routed
from routing.export import write_adapter, write_merged
from routing.merge import MergePlan
from workers.folders import work_folder
from workers.places import base_ref, base_spec, index_store
from workers.progress import reporter

Report = Callable[[int, int, str], None]


def compose(claim: Claim) -> None:
    checkpoint = ComposedCheckpoint.objects.select_related("library", "version").get(
        pk=claim.ids["checkpoint_id"]
    )
    if checkpoint.status == ComposedCheckpoint.Status.READY:
        jobs.log(claim, "nothing to do: it is ready already")
        return
    with work_folder() as folder:
        target = folder / "checkpoint"
        write(checkpoint, target, report=reporter(claim))
        reach("compose.written")
        files = {str(path.relative_to(target)): path for path in target.rglob("*") if path.is_file()}
        jobs.log(claim, f"{len(files)} files written; keeping them")
        rounding = json.loads((target / DESCRIPTION).read_text(encoding="utf-8")).get("quantised")
        checkpoints.record_checkpoint(claim, checkpoint.pk, files, rounding=rounding)


def write(checkpoint: ComposedCheckpoint, target: Path, *, report: Report) -> None:
    """Into an absent directory."""
    experts = checkpoint.options.get("experts") or None
    plan = MergePlan(**{name: value for name, value in checkpoint.options.items() if name in FIELDS})
    source = source_of(checkpoint)
    match checkpoint.kind:
        case ComposedCheckpoint.Kind.ROUTED:
            write_routed(target, source, experts=experts, progress=report)
        case ComposedCheckpoint.Kind.ADAPTER:
            rank = checkpoint.options["rank"]
            write_adapter(target, source, rank=rank, plan=plan, experts=experts, progress=report)
        case ComposedCheckpoint.Kind.MERGED:
            bits = checkpoint.options.get("bits")
            write_merged(target, source, plan=plan, experts=experts, bits=bits, progress=report)


def source_of(checkpoint: ComposedCheckpoint) -> Source:
    library, store = checkpoint.library, index_store()
    manifest = store.read_manifest(checkpoint.version.manifest)
    if other := checkpoint.options.get("policy"):
        manifest = replace(manifest, policy=replace(manifest.policy, **other))
    return Source(store=store, manifest=manifest, spec=base_spec(library), base=base_ref(library))
