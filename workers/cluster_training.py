"""TRAIN_CLUSTER: one ordinary LoRA for a cluster, trained on its members' shared rows, uploaded like any
other.

The rows are read here and stay in the hub; what leaves is the adapter.
"""

from pathlib import Path

from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.adapters.staging import StagedFile
from hub.clusters import queries, services
from hub.clusters.models import ClusterTraining
from hub.clusters.services import Course
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.chat import BadConversation
from routing.lora_training import LoraRecipe, TrainedLora, train_lora
from routing.peft_folder import write_peft_folder
from routing.rows import Row
from routing.training import BadRows
from workers.folders import work_folder
from workers.gate_sources import rows_of
from workers.places import base_name, base_spec, loaded_base
from workers.progress import reporter

RECIPE = LoraRecipe(rank=16, alpha=32.0)
CARD = """---
base_model: {base}
library_name: peft
tags:
- lora
- model-based-clustering
---

# {name}

One LoRA for cluster {cluster} of version {version} of the library `{library}` (model-based clustering):
experts whose updates point the same way. The hub trained it on {rows} sample rows that contributors agreed to
pool, with rank {rank} for {steps} steps; the loss on held-out rows fell from {before:.3f} to {after:.3f} nats
per token.

Members of the cluster (* rows pooled):

{members}
"""


def train(claim: Claim) -> None:
    reach("cluster_training.claimed")
    training = ClusterTraining.objects.select_related("version__library", "library", "owner").get(
        pk=claim.ids["training_id"]
    )
    if training.settled_at is not None:
        jobs.log(claim, "nothing to do: it is settled")
        return
    uploaded = Release.objects.filter(
        adapter__owner=training.owner, adapter__library=training.library, adapter__name=training.adapter_name
    ).first()
    if uploaded is not None:  # a worker died between the upload and its record
        services.record_training(claim, training.pk, release=uploaded)
        return
    members = list(training.members.select_related("adapter__owner", "adapter__library", "commit"))
    shared = queries.sharing(members)
    try:
        trained = trained_on(claim, training, pooled([one for one in members if one.pk in shared]))
    except (BadRows, BadConversation) as error:
        settle_without(claim, training, str(error))
        return
    reach("cluster_training.trained")
    if trained.best_step == 0:
        settle_without(claim, training, "no adapter was better on held-out rows than the base")
        return
    release = upload(training, trained, members, shared)
    reach("cluster_training.uploaded")
    services.record_training(claim, training.pk, release=release, course=_course(trained))
    jobs.log(claim, f"{release.adapter.full_name}: step {trained.best_step}, {trained.seconds:.1f} s")


def pooled(members: list[Release]) -> list[Row]:
    """The rows of all these members, in the base's tokens."""
    return [row for member in members for row in rows_of(member, str(member.samples_id))]


def trained_on(claim: Claim, training: ClusterTraining, rows: list[Row]) -> TrainedLora:
    base, report = loaded_base(training.version.library), reporter(claim)
    return train_lora(base, rows, recipe=RECIPE, progress=report)


def settle_without(claim: Claim, training: ClusterTraining, reason: str) -> None:
    services.record_training(claim, training.pk, release=None, note=reason)
    jobs.log(claim, f"no adapter: {reason}")


def upload(
    training: ClusterTraining, trained: TrainedLora, members: list[Release], shared: set[int]
) -> Release:
    """Through the same door as every upload, without rows: it is checked and indexed like a stranger's."""
    with work_folder() as folder:
        source = training.version.library.base_source
        name = base_name(training.version.library)
        files = write_peft_folder(
            folder,
            trained.adapter,
            base_spec(training.library),
            source=name if Path(source).is_dir() else source,
            revision=training.library.base_revision or None,
        )
        card = folder / "README.md"
        card.write_text(_card(training, trained, members, shared), encoding="utf-8")
        return adapters.receive_upload(
            owner=training.owner,
            library=training.library,
            name=training.adapter_name,
            files=[StagedFile(path.name, path) for path in [*files, card]],
            message=f"Trained for cluster {training.cluster} of {training.version}",
        )


def _card(training: ClusterTraining, trained: TrainedLora, members: list[Release], shared: set[int]) -> str:
    lines = sorted(
        f"- {member.adapter.full_name} at {member.oid[:12]}{' *' if member.pk in shared else ''}"
        for member in members
    )
    return CARD.format(
        base=base_name(training.version.library),
        name=training.adapter_name,
        cluster=training.cluster,
        version=training.version.number,
        library=training.version.library.slug,
        rows=trained.rows,
        rank=RECIPE.rank,
        steps=trained.best_step,
        before=trained.curve[0].held_out,
        after=min(point.held_out for point in trained.curve),
        members="\n".join(lines),
    )


def _course(trained: TrainedLora) -> Course:
    return Course(
        rows=trained.rows,
        curve=[(point.step, point.training, point.held_out) for point in trained.curve],
        seconds=trained.seconds,
        peak_bytes=trained.peak_bytes,
    )
