"""Founding a library and saying how it is served."""

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.dispatch import receiver

from hub.accounts import names
from hub.accounts.models import User
from hub.errors import Conflict, Invalid
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.jobs.signals import job_failed, job_retried
from hub.library.models import GATE_SOURCES, Library, public_source
from hub.library.policy import DEFAULT, check_policy, fields_in_words
from hub.library.signals import settings_changed

# How a library is run, in the words of its audit trail.
SAID = {
    "train_gates": {True: "gates of new experts are trained", False: "no gates are trained"},
    "review_releases": {
        True: "each new release waits for review",
        False: "new releases serve without review",
    },
    "auto_promote": {True: "new versions serve at once", False: "new versions wait to be promoted"},
    "embed_samples": {
        True: "embeddings of sample prompts are published",
        False: "no embeddings of sample prompts are published",
    },
}


@transaction.atomic
def create_library(  # noqa: PLR0913  what a library is
    *,
    slug: str,
    base_source: str,
    base_revision: str = "",
    name: str = "",
    description: str = "",
    policy: dict[str, Any] | None = None,
    auto_promote: bool = True,
    train_gates: bool = False,
    embed_samples: bool = False,
    encoder_source: str = "",
    encoder_revision: str = "",
    review_releases: bool = False,
    maintainer: User | None = None,
) -> Library:
    """Found a library on a base model, and ask for the inspection of that base. Raises Invalid, Conflict."""
    if not base_source.strip():
        raise Invalid("base_source is empty; expected a folder with a causal language model, or a hub id")
    try:
        with transaction.atomic():
            library = Library.objects.create(
                slug=names.check_slug(slug),
                name=name or slug,
                description=description,
                base_source=base_source,
                base_revision=base_revision,
                policy=check_policy(policy or DEFAULT.model_dump()),
                auto_promote=auto_promote,
                train_gates=train_gates,
                embed_samples=embed_samples,
                encoder_source=encoder_source.strip(),
                encoder_revision=encoder_revision,
                review_releases=review_releases,
                encoder_settled=not encoder_source.strip(),
                maintainer=maintainer,
            )
    except IntegrityError as error:
        raise Conflict(f"there is a library {slug!r} already") from error
    jobs.enqueue(JobKind.INSPECT_BASE, library_id=library.pk)
    return library


def create_beside(library: Library, *, slug: str, name: str, maintainer: User) -> Library:
    """Found another library on the base of one that is inspected already. Raises Conflict.

    It takes uploads at once; its own inspection follows, and finds the same base.
    """
    created = create_library(
        slug=slug,
        name=name,
        base_source=library.base_source,
        base_revision=library.base_revision,
        policy=library.policy,
        auto_promote=library.auto_promote,
        encoder_source=library.encoder_source,
        encoder_revision=library.encoder_revision,
        review_releases=library.review_releases,
        maintainer=maintainer,
    )
    created.base_spec, created.base_digest, created.status = (
        library.base_spec,
        library.base_digest,
        library.status,
    )
    created.save(update_fields=["base_spec", "base_digest", "status"])
    if not created.encoder_settled:
        jobs.enqueue(JobKind.INTRODUCE, library_id=created.pk)
    return created


@transaction.atomic
def record_base(claim: Claim, library_id: int, spec: dict[str, Any], *, digest: str) -> bool:
    """What the worker found in the base. False when it is recorded already. Raises Fenced, Conflict."""
    library = Library.objects.select_for_update(no_key=True).get(pk=library_id)
    claims.hold(claim)
    if library.status == Library.Status.READY:
        if library.base_digest != digest:
            raise Conflict(
                f"the base of {library.slug} has digest {digest}, but {library.base_digest} is what its "
                "adapters were made for; a changed base needs a library of its own"
            )
        return False
    library.base_spec, library.base_digest, library.status = spec, digest, Library.Status.READY
    library.save(update_fields=["base_spec", "base_digest", "status"])
    if not library.encoder_settled:
        jobs.enqueue(JobKind.INTRODUCE, library_id=library.pk)
    return True


def record_guest_key(library_id: int, key: bytes) -> None:
    """The index store says by which key the library's lists of private experts are believed."""
    Library.objects.filter(pk=library_id).update(guest_key=key.hex())


@transaction.atomic
def change_policy(
    *, library: Library, policy: dict[str, Any], by: User | None = None, reason: str = ""
) -> Library:
    """Set what answers begin with; it takes effect with the next index version. Raises Invalid."""
    locked = _locked(library)
    before, after = locked.policy, check_policy({**locked.policy, **policy})
    changed = [name for name in after if before.get(name) != after[name]]
    locked.policy = after
    locked.save(update_fields=["policy"])
    _tell(locked, fields_in_words(before, changed), fields_in_words(after, changed), by=by, reason=reason)
    jobs.enqueue(JobKind.INDEX, library_id=locked.pk)
    return locked


@transaction.atomic
def change_encoder(
    *, library: Library, source: str, revision: str = "", by: User | None = None, reason: str = ""
) -> Library:
    """Let another sentence encoder read prompts, or with an empty `source` the base again.

    It takes effect with an index version, when a worker has introduced every expert by it.
    """
    locked = _locked(library)
    if (locked.encoder_source, locked.encoder_revision) != (source.strip(), revision):
        before = _encoder(locked)
        locked.encoder_source, locked.encoder_revision = source.strip(), revision
        locked.encoder_settled = False
        locked.save(update_fields=["encoder_source", "encoder_revision", "encoder_settled"])
        _tell(locked, before, _encoder(locked), by=by, reason=reason)
    if locked.status == Library.Status.READY:
        jobs.enqueue(JobKind.INTRODUCE, library_id=locked.pk)
    return locked


@transaction.atomic
def change_gate_training(*, library: Library, wanted: bool, by: User | None = None, reason: str = "") -> None:
    """Whether gates are trained of experts that become ready from now on."""
    said, before = SAID["train_gates"], _locked(library).train_gates
    Library.objects.filter(pk=library.pk).update(train_gates=wanted)
    library.train_gates = wanted
    _tell(library, said[before], said[wanted], by=by, reason=reason)


@transaction.atomic
def change_review(*, library: Library, wanted: bool, by: User | None = None, reason: str = "") -> None:
    """Whether releases that become ready from now on wait for a maintainer."""
    said, before = SAID["review_releases"], _locked(library).review_releases
    Library.objects.filter(pk=library.pk).update(review_releases=wanted)
    library.review_releases = wanted
    _tell(library, said[before], said[wanted], by=by, reason=reason)


@transaction.atomic
def change_gate_sources(
    *, library: Library, sources: Sequence[str], by: User | None = None, reason: str = ""
) -> None:
    """Whose gates are used, the preferred first; one that is left out is not used. Raises Invalid.

    It takes effect with the next index version.
    """
    if len(set(sources)) != len(sources) or not set(sources) <= set(GATE_SOURCES):
        known = ", ".join(GATE_SOURCES)
        raise Invalid(f"gate sources are {list(sources)}; expected some of {known}, once each")
    before = _locked(library).gate_sources
    Library.objects.filter(pk=library.pk).update(gate_sources=list(sources))
    library.gate_sources = list(sources)
    _tell(library, _gates_of(before), _gates_of(sources), by=by, reason=reason)
    jobs.enqueue(JobKind.INDEX, library_id=library.pk)


def _locked(library: Library) -> Library:
    """As it is now, held by this transaction until it ends."""
    return Library.objects.select_for_update(no_key=True).get(pk=library.pk)


def _tell(library: Library, before: str, after: str, *, by: User | None, reason: str) -> None:
    """Whoever sets what is set already has decided nothing."""
    if before != after:
        settings_changed.send(
            sender=Library, library=library, before=before, after=after, by=by, reason=reason
        )


def _encoder(library: Library) -> str:
    """Without the folder where it lies on the workers: everybody reads it."""
    named = f"{public_source(library.encoder_source)} {library.encoder_revision}".strip()
    return f"prompts read by {named or 'the base'}"


def _gates_of(sources: Sequence[str]) -> str:
    return f"gates of {', '.join(sources)}" if sources else "gates of nobody"


@receiver(job_failed)
def _inspection_failed(job: Job, **_: object) -> None:
    if job.kind == JobKind.INSPECT_BASE:
        Library.objects.filter(pk=job.subject["library_id"], status=Library.Status.RECEIVED).update(
            status=Library.Status.FAILED
        )


@receiver(job_retried)
def _inspection_retried(job: Job, **_: object) -> None:
    if job.kind == JobKind.INSPECT_BASE:
        Library.objects.filter(pk=job.subject["library_id"], status=Library.Status.FAILED).update(
            status=Library.Status.RECEIVED
        )
