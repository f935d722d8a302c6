"""Is everything as the hub promises? Each check yields one sentence per thing that is not (RELIABILITY
2.3).
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Now

from hub.adapters import gitnames, history
from hub.adapters.models import Adapter, Commit, Ref, Release, ReleaseEvent
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.clusters.models import Clustering
from hub.exports.models import Export
from hub.indexes.models import ComposedCheckpoint, IndexVersion
from hub.jobs import queries as jobs
from hub.jobs.models import Job, JobEvent, JobKind
from hub.library.models import Library
from hub.operations import garbage, index_store
from hub.search import meanings
from hub.search import services as search

SETTLING = timedelta(seconds=30)
ENDS = [JobEvent.What.DONE, JobEvent.What.FAILED, JobEvent.What.SUPERSEDED]


def uploads_settle_once() -> Iterator[str]:
    """An upload that is not settled has work waiting or a failed job that says why; a settled one settled
    once.
    """
    settled = Q(events__what__in=[ReleaseEvent.What.REJECTED, ReleaseEvent.What.READY])
    for release in Release.objects.select_related("adapter__owner").annotate(
        ends=Count("events", filter=settled)
    ):
        is_settled = release.status in {Release.Status.REJECTED, Release.Status.READY}
        if release.ends != int(is_settled):
            yield f"{release} is {release.status} and has {release.ends} settling events"
        if not is_settled and not jobs.about(release_id=release.pk).exclude(state=Job.State.DONE).exists():
            yield f"{release} is {release.status} and nothing is waiting to go on with it"


def jobs_end_once() -> Iterator[str]:
    """No lease is long expired, and a finished job has one ending since it was last retried."""
    for job in Job.objects.filter(state=Job.State.RUNNING, lease_until__lt=Now() - SETTLING):
        yield f"{job} has had no worker since {job.lease_until} and nobody took it over; is one running?"
    for job in Job.objects.filter(state__in=[Job.State.DONE, Job.State.FAILED]).prefetch_related("events"):
        events = [event.what for event in job.events.all()]
        ends = sum(what in ENDS for what in events) - events.count(JobEvent.What.RETRIED)
        if ends != 1:
            yield f"{job} has {ends} endings on record"


def blobs_are_there() -> Iterator[str]:
    """Every blob that something names is stored with its size."""
    place = blobs.storage()
    for blob in _named_blobs():
        if not place.has(blob.sha256):
            yield f"blob {blob.sha256} is named but missing"
        elif place.size_of(blob.sha256) != blob.size:
            yield f"blob {blob.sha256} has {place.size_of(blob.sha256)} bytes, expected {blob.size}"


def blobs_are_unaltered() -> Iterator[str]:
    """Every blob that something names still has its digest (reads all bytes)."""
    for blob in _named_blobs():
        sha256 = hashlib.sha256()
        try:
            for chunk in blobs.read(blob):
                sha256.update(chunk)
        except FileNotFoundError:
            continue  # said by the check above
        if sha256.hexdigest() != blob.sha256:
            yield f"blob {blob.sha256} was altered: its bytes have the digest {sha256.hexdigest()}"


def commits_are_what_they_say() -> Iterator[str]:
    """Tree and commit oids, computed again from the rows."""
    for commit in Commit.objects.select_related("adapter__owner", "author", "parent").prefetch_related(
        "files__blob"
    ):
        tree = gitnames.tree_oid({file.path: file.blob.git_oid for file in commit.files.all()})
        oid = gitnames.commit_oid(
            tree=tree,
            parent=commit.parent.oid if commit.parent else None,
            author=gitnames.Author.called(commit.author.username),
            message=commit.message,
            at=commit.created_at,
            adapter=commit.adapter.full_name,
        )
        if (tree, oid) != (commit.tree_oid, commit.oid):
            yield f"commit {commit.oid} of {commit.adapter} is not what it says: computed {oid}"


def names_lead_home() -> Iterator[str]:
    """Every adapter has a main, and branches, tags and examinations are of the adapter that has them."""
    main = Ref.objects.filter(kind=Ref.Kind.BRANCH, name=history.MAIN)
    for adapter in Adapter.objects.exclude(pk__in=main.values("adapter")).select_related("owner"):
        yield f"{adapter} has no branch {history.MAIN}"
    for ref in Ref.objects.exclude(commit__adapter=F("adapter")).select_related("adapter__owner"):
        yield f"{ref} points at a commit of another adapter"
    strays = Commit.objects.exclude(examined_as=None).exclude(examined_as__adapter=F("adapter"))
    for commit in strays.select_related("adapter__owner"):
        yield f"commit {commit.oid} of {commit.adapter} stands under a release of another adapter"


def versions_are_contiguous() -> Iterator[str]:
    """Numbers are 1, 2, 3, ..., each with as many members as it says, all of them ready."""
    for library in Library.objects.all():
        versions = list(IndexVersion.objects.filter(library=library).order_by("number"))
        numbers = [version.number for version in versions]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{library.slug} has the versions {numbers}, not 1 to {len(numbers)}"
        for version in versions:
            members = version.members()
            if members.count() != version.expert_count:
                yield f"{version} says {version.expert_count} experts and has {members.count()}"
            if members.exclude(status=Release.Status.READY).exists():
                yield f"{version} names releases that are not ready"


def the_store_agrees() -> Iterator[str]:
    """What is published is in the index store under the same digest, and the served version is the promoted
    one.
    """
    root = index_store.folder()
    if root is None:
        return
    for version in IndexVersion.objects.filter(status=IndexVersion.Status.PUBLISHED).select_related(
        "library"
    ):
        stored = index_store.published(root, version.library.slug, version.number)
        if stored != version.manifest:
            yield f"{version} has the manifest {version.manifest}, but the index store says {stored}"
    for library in Library.objects.exclude(current=None).select_related("current"):
        seen, wanted = (
            index_store.current(root, library.slug),
            library.current.number if library.current else None,
        )
        if seen != wanted:
            yield f"{library.slug} serves version {seen}, which is not the promoted {wanted}"


def experts_are_in_the_store() -> Iterator[str]:
    """Vectors, factors, profile and gates of every ready release are in the index store."""
    root = index_store.folder()
    ready = Release.objects.filter(status=Release.Status.READY).select_related("adapter__owner")
    for release in ready.prefetch_related("gates").defer("statistics", "fingerprint") if root else []:
        gates = [one.vectors_digest for one in release.gates.all()]
        profile = [release.profile_digest] if release.profile_digest else []
        for digest in (release.vectors_digest, release.factors_digest, *profile, *gates):
            if root and not index_store.object_path(root, digest).exists():
                yield f"{release} names the index object {digest}, which is missing"


def cosines_are_in_the_store() -> Iterator[str]:
    """The cosines of every clustering are in the index store."""
    root = index_store.folder()
    for found in Clustering.objects.select_related("version__library") if root else []:
        if root and not index_store.object_path(root, found.matrix).exists():
            yield f"{found} names the index object {found.matrix}, which is missing"


def the_store_is_unaltered() -> Iterator[str]:
    """Every object of the index store still has its digest (reads all bytes)."""
    root = index_store.folder()
    for found in index_store.objects(root) if root else []:
        if root and not index_store.is_intact(root, found.sha256):
            yield f"index object {found.sha256} was altered"


def checkpoints_are_whole() -> Iterator[str]:
    """A checkpoint that is not ready has work waiting, and a ready one has files."""
    for checkpoint in ComposedCheckpoint.objects.select_related("library", "version").annotate(
        count=Count("files")
    ):
        if checkpoint.status == ComposedCheckpoint.Status.READY and not checkpoint.count:
            yield f"composed checkpoint {checkpoint.pk} is ready and has no files"
        waiting = jobs.about(checkpoint_id=checkpoint.pk).exclude(state=Job.State.DONE)
        if checkpoint.status == ComposedCheckpoint.Status.REQUESTED and not waiting.exists():
            yield f"composed checkpoint {checkpoint.pk} is requested and nothing is waiting to make it"


def exports_are_on_their_way() -> Iterator[str]:
    """An export that has not ended has work waiting."""
    for export in Export.objects.filter(status=Export.Status.REQUESTED).order_by("pk"):
        waiting = jobs.about(export_id=export.pk).exclude(state=Job.State.DONE)
        if not waiting.exists():
            yield f"export {export.pk} to {export.place} is requested and nothing is waiting to push it"


def downloads_add_up() -> Iterator[str]:
    """All downloads of an adapter are those of its days."""
    days = Sum("releases__days_of_downloads__count", default=0)
    wrong = Adapter.objects.annotate(of_days=days).exclude(downloads_all_time=F("of_days"))
    for adapter in wrong.select_related("owner"):
        said = adapter.downloads_all_time
        yield f"{adapter} has {said} downloads, but those of its days are {vars(adapter)['of_days']}"


def adapters_are_found_by_what_they_say() -> Iterator[str]:
    """Every adapter's entry in the search says what its main, its releases and its likes do."""
    for adapter in Adapter.objects.select_related("owner").order_by("pk"):
        if fields := search.untrue(adapter):
            yield f"{adapter} is searched by an old {', '.join(fields)}; `manage.py reindex_search` mends it"


def cards_are_read() -> Iterator[str]:
    """Where the settings name an encoder, whatever it has not read waits for a worker."""
    if meanings.wanted() is None:
        return
    count = meanings.due(meanings.current()).count()
    waiting = Job.objects.filter(kind=JobKind.READ_CARDS, state__in=[Job.State.QUEUED, Job.State.RUNNING])
    if count and not waiting.exists():
        yield f"{count} adapters are not read for the search by meaning; `manage.py read_cards` has them read"


def nothing_is_left_over() -> Iterator[str]:
    """No temporary file, and no unnamed blob, is older than the grace."""
    for path in blobs.left_over(settings.GARBAGE_GRACE):
        yield f"temporary {path.name} is older than {settings.GARBAGE_GRACE}"
    count = garbage.unreferenced(settings.GARBAGE_GRACE).count()
    if count:
        yield f"{count} blobs are named by nothing; `manage.py collect_garbage` shows them"


def _named_blobs() -> Iterator[Blob]:
    named = ~Q(pk__in=garbage.unreferenced(timedelta()).values("pk"))
    return Blob.objects.filter(named).order_by("pk").iterator()


Check = Callable[[], Iterator[str]]
QUICK: tuple[Check, ...] = (
    uploads_settle_once,
    jobs_end_once,
    blobs_are_there,
    commits_are_what_they_say,
    names_lead_home,
    versions_are_contiguous,
    the_store_agrees,
    experts_are_in_the_store,
    cosines_are_in_the_store,
    checkpoints_are_whole,
    exports_are_on_their_way,
    downloads_add_up,
    adapters_are_found_by_what_they_say,
    cards_are_read,
    nothing_is_left_over,
)
DEEP: tuple[Check, ...] = (blobs_are_unaltered, the_store_is_unaltered)
