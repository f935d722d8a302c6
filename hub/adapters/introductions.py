"""How experts are introduced to query routers: recorded at admission, and made again when that was not done
or when a library's sentence encoder changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, QuerySet

from hub.adapters.models import Release
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.library.models import BASE_ENCODER, Library


@dataclass(frozen=True)
class Introduction:
    """A profile in the index store, and the name of the encoder that made its embeddings."""

    digest: str
    size: int
    encoder: str

    @property
    def fields(self) -> dict[str, str | int]:
        """As a release keeps it."""
        return {
            "profile_digest": self.digest,
            "profile_size": self.size,
            "profile_encoder": self.encoder,
        }


@dataclass(frozen=True)
class Wanted:
    """Which encoder a library asks for; an empty source is the base itself."""

    source: str
    revision: str

    @classmethod
    def by(cls, library: Library) -> "Wanted":
        return cls(library.encoder_source, library.encoder_revision)


def admitted(library: Library) -> QuerySet[Release]:
    """Every release that is, or may be again, a member of an index."""
    return Release.objects.filter(adapter__library=library, status=Release.Status.READY)


def lacking(library: Library) -> QuerySet[Release]:
    """Those that the encoder which the library asks for has not introduced, as far as the hub can tell."""
    ready = admitted(library)
    if not library.encoder_settled:
        return ready
    if library.encoder is None:
        return ready.exclude(profile_encoder__startswith=BASE_ENCODER)
    return not_by(library, library.encoder["name"])


def not_by(library: Library, encoder: str) -> QuerySet[Release]:
    """Those that the encoder of this name has not introduced, in a lasting order."""
    return admitted(library).exclude(profile_encoder=encoder).order_by("pk")


def by_encoder(library: Library) -> dict[str, int]:
    """How many releases were introduced by which encoder; by an empty name: by none."""
    rows = admitted(library).order_by("profile_encoder").values_list("profile_encoder")
    return dict(rows.annotate(count=Count("pk")))


@transaction.atomic
def ask(library: Library, *, anew: bool = False) -> Job:
    """Ask a worker to introduce every release that lacks it; `anew`: all of them, cards and rows too."""
    if anew:
        admitted(library).update(profile_encoder="")
    return jobs.enqueue(JobKind.INTRODUCE, library_id=library.pk)


@transaction.atomic
def record(claim: Claim, release_id: int, introduction: Introduction) -> None:
    """Keep a ready release's new profile. The next index version takes it. Raises Fenced."""
    Release.objects.select_for_update(no_key=True).get(pk=release_id)
    claims.hold(claim)
    Release.objects.filter(pk=release_id, status=Release.Status.READY).update(**introduction.fields)


@transaction.atomic
def settle(
    claim: Claim, library_id: int, *, wanted: Wanted, name: str, encoder: Mapping[str, Any] | None
) -> bool:
    """Let the encoder read the library's prompts from the next index version on. Raises Fenced.

    `encoder` is what index versions say of it, None of the base. False while a release lacks its
    introduction; nothing changes when another encoder was asked for meanwhile: its own job brings it.
    """
    library = Library.objects.select_for_update(no_key=True).get(pk=library_id)
    claims.hold(claim)
    if Wanted.by(library) != wanted:
        return True
    if not_by(library, name).exists():
        return False
    library.encoder, library.encoder_settled = None if encoder is None else dict(encoder), True
    library.save(update_fields=["encoder", "encoder_settled"])
    jobs.enqueue(JobKind.INDEX, library_id=library.pk)
    return True
