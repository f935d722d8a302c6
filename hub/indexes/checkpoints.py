"""Composed checkpoints: asked for here, written by a worker, kept as blobs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.dispatch import receiver

from hub.accounts.models import User
from hub.blobs import services as blobs
from hub.errors import Conflict, Invalid
from hub.indexes import archive, queries
from hub.indexes.merging import FIELDS, Called, check_merging
from hub.indexes.models import CheckpointFile, ComposedCheckpoint, IndexVersion
from hub.indexes.parts import Part, parts
from hub.indexes.quantising import check_bits
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.jobs.signals import job_failed, job_retried
from hub.library.policy import check_policy

CHANGEABLE = ("router", "top_k", "shortlist")  # of a version's policy, in a routed checkpoint
LARGEST_RANK = 1024
DEFAULT_RANK = 16
KNOWN = {"experts", "policy", "rank", "bits", *FIELDS}


@transaction.atomic
def request_checkpoint(
    *, version: IndexVersion, kind: str, requested_by: User | None, options: Mapping[str, Any] | None = None
) -> ComposedCheckpoint:
    """Ask for a composed checkpoint; what is there, or being made, with the same content serves again.

    Options: `experts`, names to choose from the version (none means all), for kind `routed` what of the
    version's routing `policy` is to be another one, for kind `adapter` its `rank`, for kinds `adapter` and
    `merged` how they are merged (see hub.indexes.merging), and for kind `merged` the `bits` of a weight where
    not as the base has them (see hub.indexes.quantising).
    Raises Invalid, Conflict.
    """
    members = parts(version)
    found = there_already(version=version, kind=kind, options=options, members=members)
    if found is not None:
        return found
    wanted = _checked_options(version, kind, dict(options or {}), members)
    checkpoint = ComposedCheckpoint.objects.create(
        library=version.library, version=version, kind=kind, options=wanted, requested_by=requested_by
    )
    jobs.enqueue(JobKind.COMPOSE, checkpoint_id=checkpoint.pk)
    return checkpoint


def there_already(
    *,
    version: IndexVersion,
    kind: str,
    options: Mapping[str, Any] | None = None,
    members: Sequence[Part] | None = None,
    called: Called = str,
) -> ComposedCheckpoint | None:
    """What is there, or being made, with the content that is wished for. Raises Invalid, Conflict where the
    wish cannot be fulfilled, with options `called` as whoever reads it knows them.

    `members` are the version's where somebody has read them already.
    """
    if queries.held_back(version).exists():
        raise Conflict(
            f"{version} names an expert that is in quarantine, so nothing is composed from it any more"
        )
    there = parts(version) if members is None else members
    wanted = _checked_options(version, kind, dict(options or {}), there, called)
    same = ComposedCheckpoint.objects.filter(version=version, kind=kind, options=wanted)
    alive = same.exclude(status=ComposedCheckpoint.Status.FAILED).filter(
        Q(expires_at=None) | Q(expires_at__gt=Now())
    )
    return alive.first()


def record_checkpoint(
    claim: Claim, checkpoint_id: int, files: Mapping[str, Path], *, rounding: Mapping[str, Any] | None = None
) -> bool:
    """Keep the files that a worker wrote (path in the checkpoint -> file, which may be moved away), and what
    `rounding` changed where weights were rounded.

    Bytes are kept and the archive's digest is computed before the transaction. False when it was recorded
    before.
    Raises Fenced, StorageFull.
    """
    checkpoint = ComposedCheckpoint.objects.select_related("library", "version").get(pk=checkpoint_id)
    kept = {path: blobs.store_file(source) for path, source in sorted(files.items())}
    tar = archive.Tar(archive.layout(checkpoint.folder, kept.items()))
    digest = tar.digest()
    with transaction.atomic():
        locked = ComposedCheckpoint.objects.select_for_update(no_key=True).get(pk=checkpoint_id)
        claims.hold(claim)
        if locked.status == ComposedCheckpoint.Status.READY:
            return False
        CheckpointFile.objects.bulk_create(
            CheckpointFile(checkpoint=locked, path=path, blob=blob) for path, blob in kept.items()
        )
        _make_ready(locked, digest=digest, size=tar.size, rounding=rounding)
    return True


def _make_ready(
    checkpoint: ComposedCheckpoint, *, digest: str, size: int, rounding: Mapping[str, Any] | None
) -> None:
    ComposedCheckpoint.objects.filter(pk=checkpoint.pk).update(
        status=ComposedCheckpoint.Status.READY,
        archive_digest=digest,
        archive_size=size,
        rounding=None if rounding is None else dict(rounding),
        ready_at=Now(),
        expires_at=jobs.from_now(settings.CHECKPOINT_LIFETIME),
    )


def _chosen_experts(
    version: IndexVersion, asked: Iterable[str], members: Sequence[Part]
) -> tuple[list[str], set[str], list[str]]:
    """Who is chosen (nobody: all are), who could be, and complaints. Gated experts are in no checkpoint:
    their owners decide who gets their weights.
    """
    names = {member.name for member in members if not member.gated}
    chosen = sorted(set(asked))
    strangers = [name for name in chosen if name not in names]
    if strangers:
        return (
            chosen,
            names,
            [f"{', '.join(strangers[:5])} is not an expert of {version} open to all"],
        )
    if members and not names:
        return chosen, names, [f"all experts of {version} are gated, so nothing is left to compose"]
    return chosen or (sorted(names) if len(names) < len(members) else []), names, []


def _checked_options(
    version: IndexVersion, kind: str, options: dict[str, Any], members: Sequence[Part], called: Called = str
) -> dict[str, Any]:
    """The options in one spelling, so that equal wishes are equal. Raises Invalid with every complaint."""
    complaints = [f"{name!r} is not an option" for name in sorted(set(options) - KNOWN)]
    if kind not in ComposedCheckpoint.Kind.values:
        complaints.append(f"kind is {kind!r}; expected one of {', '.join(ComposedCheckpoint.Kind.values)}")
    chosen, names, refused = _chosen_experts(version, options.get("experts") or (), members)
    complaints += refused
    wanted: dict[str, Any] = {"experts": chosen} if chosen else {}
    policy, refused = _another_policy(version, kind, options.get("policy") or {}, called)
    wanted, complaints = wanted | policy, complaints + refused
    if kind == ComposedCheckpoint.Kind.ADAPTER:
        rank = options.get("rank") or DEFAULT_RANK
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= LARGEST_RANK:
            complaints.append(
                f"{called('rank')} is {rank!r}; expected a whole number from 1 to {LARGEST_RANK}"
            )
        wanted["rank"] = rank
    elif options.get("rank"):
        complaints.append(f"{called('rank')} belongs to the kind 'adapter', not to {kind!r}")
    rounded, refused = _fewer_bits(version, kind, options.get("bits"), called)
    wanted, complaints = wanted | rounded, complaints + refused
    merging = {name: options[name] for name in FIELDS if options.get(name) is not None}
    if merging and kind == ComposedCheckpoint.Kind.ROUTED:
        complaints.append(f"{', '.join(map(called, merging))}: a routed model is not merged")
    elif merging:
        merged = chosen or names - set(version.policy.get("general", ()))
        spelled, wrong = check_merging(merging, merged, called)
        wanted, complaints = wanted | spelled, complaints + wrong
    if complaints:
        raise Invalid("; ".join(complaints))
    return wanted


def _fewer_bits(
    version: IndexVersion, kind: str, bits: object, called: Called
) -> tuple[dict[str, Any], list[str]]:
    """In how many bits the weights are, if not as the base has them, and complaints."""
    if bits is None:
        return {}, []
    if kind != ComposedCheckpoint.Kind.MERGED:
        return {}, [f"{called('bits')} belongs to the kind 'merged', not to {kind!r}"]
    return {"bits": bits}, check_bits(version.library.base_spec or {}, bits, called)


def _another_policy(
    version: IndexVersion, kind: str, said: dict[str, Any], called: Called
) -> tuple[dict[str, Any], list[str]]:
    """What is routed otherwise than in the version, if it can be, and complaints."""
    if not said:
        return {}, []
    if kind != ComposedCheckpoint.Kind.ROUTED:
        return {}, [f"policy belongs to the kind 'routed', not to {kind!r}"]
    if strange := sorted(set(said) - set(CHANGEABLE)):
        return {}, [f"policy.{name} cannot be changed; expected {', '.join(CHANGEABLE)}" for name in strange]
    try:
        whole = check_policy({**version.policy, **said}, called)
    except Invalid as error:
        return {}, [f"{called('policy')}: {error}"]
    usual = check_policy(version.policy)
    changed = {name: whole[name] for name in CHANGEABLE if whole[name] != usual[name]}
    lacking = queries.lacking(version, whole["router"])
    return ({"policy": changed} if changed else {}), [
        f"{called('policy.router')}: {lacking}"
    ] if lacking else []


@receiver(job_failed)
def _composition_failed(job: Job, **_: object) -> None:
    if job.kind == JobKind.COMPOSE:
        ComposedCheckpoint.objects.filter(
            pk=job.subject["checkpoint_id"], status=ComposedCheckpoint.Status.REQUESTED
        ).update(status=ComposedCheckpoint.Status.FAILED)


@receiver(job_retried)
def _composition_retried(job: Job, **_: object) -> None:
    if job.kind == JobKind.COMPOSE:
        ComposedCheckpoint.objects.filter(
            pk=job.subject["checkpoint_id"], status=ComposedCheckpoint.Status.FAILED
        ).update(status=ComposedCheckpoint.Status.REQUESTED)
