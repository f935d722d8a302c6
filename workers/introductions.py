"""INTRODUCE: let a library's experts be known by the encoder that it asks for, then let that read prompts.

Each profile is recorded as it is made: a worker that begins again goes on where the last one stopped.
"""

from dataclasses import asdict

from hub.adapters import introductions
from hub.adapters.introductions import Wanted
from hub.adapters.models import Release
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.library.models import Library
from routing.encoding import Encoder, encoder_ref
from routing.errors import UnsupportedEncoder
from routing.spec import BaseRef, EncoderRef
from workers.claiming import CannotBeDone
from workers.folders import lay_out, work_folder
from workers.introducing import encoder_of, introduction, keep
from workers.places import loaded_base
from workers.validation import tree_of


def introduce(claim: Claim) -> None:
    library = Library.objects.get(pk=claim.ids["library_id"])
    wanted = Wanted.by(library)
    named = found(library, wanted)
    encoder = encoder_of(library, None if named is None else asdict(named))
    jobs.log(claim, f"prompts are to be read by {encoder.name}")
    while True:
        introduce_all(claim, library, encoder)
        reach("introduce.recorded")
        if introductions.settle(
            claim,
            library.pk,
            wanted=wanted,
            name=encoder.name,
            encoder=None if named is None else asdict(named),
        ):
            return


def found(library: Library, wanted: Wanted) -> EncoderRef | None:
    """The encoder that is asked for, pinned; None if it is the base itself."""
    if not wanted.source:
        return None
    try:
        return encoder_ref(BaseRef(wanted.source, wanted.revision or None), loaded_base(library))
    except UnsupportedEncoder as error:
        raise CannotBeDone(str(error)) from error


def introduce_all(claim: Claim, library: Library, encoder: Encoder) -> None:
    """Everybody who is not introduced by this encoder."""
    known = introductions.not_by(library, encoder.name).select_related(
        "adapter__library", "adapter__owner", "commit"
    )
    waiting = list(known.defer("findings", "statistics", "fingerprint"))
    for done, release in enumerate(waiting):
        jobs.report_progress(claim, done, len(waiting), f"introducing {release.adapter}")
        introduce_one(claim, release, encoder)
    jobs.log(claim, f"introduced {len(waiting)} releases")


def introduce_one(claim: Claim, release: Release, encoder: Encoder) -> None:
    with work_folder() as folder:
        lay_out(tree_of(release), folder)
        profile = introduction(release, folder, encoder)
    introductions.record(claim, release.pk, keep(profile))
