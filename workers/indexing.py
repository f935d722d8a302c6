"""INDEX: plan the next version of a library's routing index, put it into the store, record it."""

from dataclasses import replace

from hub.adapters.models import Release
from hub.faults import reach
from hub.indexes import queries
from hub.indexes import services as indexes
from hub.indexes.models import IndexMember, IndexVersion
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.index import ExpertEntry, IndexManifest, RoutingPolicy, manifest_of
from routing.spec import EncoderRef
from workers import classifiers
from workers.places import index_store


def publish(claim: Claim) -> None:
    """Writing the same version again changes nothing, so a worker may die between any two of these lines."""
    reach("publish.claimed")
    version = indexes.plan_version(claim, claim.ids["library_id"])
    if version is None:
        jobs.log(claim, "nothing changed since the newest version")
        return
    reach("publish.planned")
    classifier = classifiers.trained(claim, version)
    jobs.report_progress(claim, 1, 3, f"writing version {version.number} with {version.expert_count} experts")
    digest = index_store().write_version(
        version.library.slug, version.number, manifest(version, classifier=classifier)
    )
    reach("publish.manifest_written")
    jobs.report_progress(claim, 2, 3, "recording it")
    indexes.record_published(claim, version.pk, digest, indexes.total_size(version))
    reach("publish.before_finish")
    jobs.log(claim, f"version {version.number} has {version.expert_count} experts and digest {digest[:12]}")


def manifest(version: IndexVersion, *, classifier: str | None = None) -> IndexManifest:
    """The version as the store keeps it: a function of the database's rows and its classifier's digest."""
    entries = [member_entry(member) for member in queries.members(version)]
    known = index_store().library_ref(version.library.slug)
    calibration = None if known is None else known.calibration
    policy = RoutingPolicy(**version.policy)
    return manifest_of(
        version.base_digest,
        entries,
        policy=policy,
        calibration=calibration,
        classifier=classifier,
        encoder=None if version.encoder is None else EncoderRef(**version.encoder),
    )


def member_entry(member: IndexMember) -> ExpertEntry:
    plain = entry(member.release)
    return replace(
        plain,
        vectors=member.vectors_digest,
        vectors_size=member.vectors_size,
        profile=member.profile_digest or None,
        profile_size=member.profile_size,
    )


def entry(release: Release) -> ExpertEntry:
    """A release as it is known without gates and unintroduced."""
    return ExpertEntry(
        adapter=release.adapter.full_name,
        release=release.oid,
        vectors=release.vectors_digest,
        factors=release.factors_digest,
        vectors_size=release.vectors_size,
        factors_size=release.factors_size,
    )
