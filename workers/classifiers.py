"""The classifier of prompts of an index version: trained on its members' profiles before that is written."""

from dataclasses import asdict

from hub.faults import reach
from hub.indexes import queries
from hub.indexes import services as indexes
from hub.indexes.models import IndexVersion
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.classifier import TooFewPrompts, train_classifier
from routing.profiles import Profile
from workers.introducing import encoder_of
from workers.places import index_store


def trained(claim: Claim, version: IndexVersion) -> str | None:
    """The digest of the version's classifier: that which is recorded, or a new one; None where there is none.

    One is trained where the library embeds sample prompts and its base has neutral text.
    """
    recorded = queries.classifier_of(version)
    if recorded is not None:
        return recorded.digest
    known = index_store().library_ref(version.library.slug)
    if not version.library.embed_samples or known is None or known.calibration is None:
        return None
    return _train(claim, version, neutral=known.calibration)


def _train(claim: Claim, version: IndexVersion, *, neutral: str) -> str | None:
    store, encoder = index_store(), encoder_of(version.library, version.encoder)
    texts = encoder.encode(store.read_neutral(neutral).tolist())
    try:
        head, report = train_classifier(profiles_of(version), texts, encoder=encoder.name)
    except TooFewPrompts as error:
        jobs.log(claim, f"no classifier of prompts: {error}")
        return None
    digest, size = store.put_classifier(head)
    reach("classifier.stored")
    said = asdict(report)
    reliability = said.pop("reliability")
    recorded = indexes.record_classifier(
        claim, version.pk, digest=digest, size=size, report=said, reliability=reliability
    )
    jobs.log(
        claim,
        f"a classifier of {report.classes} experts: {report.accuracy:.1%} of {report.held_out} held-out "
        f"prompts right, calibration error {report.calibration_error:.3f}",
    )
    return recorded.digest


def profiles_of(version: IndexVersion) -> dict[str, Profile]:
    """The profiles of the version's members, by adapter."""
    store = index_store()
    return {
        member.release.adapter.full_name: store.read_profile(member.profile_digest)
        for member in queries.members(version)
        if member.profile_digest
    }
