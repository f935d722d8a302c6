"""IMPORT: look at a repository of another hub, and upload here what is new there, like any other upload.

Only files with known names are fetched, each bounded and compared with the digest that the other hub gives.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings

from hub.adapters import paths
from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.adapters.staging import StagedFile
from hub.blobs.content import names_of
from hub.errors import BadArchive, Conflict, Invalid, TooLarge
from hub.exports import queries as exports
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.mirrors import queries, services
from hub.mirrors.models import Mirror
from hub.outbound import Refused, Unreachable
from workers.folders import work_folder
from workers.outbound import Outside
from workers.progress import reporter

WEIGHTS = "adapter_model.safetensors"
NEEDED = ("adapter_config.json", WEIGHTS)
WANTED = (*NEEDED, "README.md", "fletch_gates.json", "fletch_gates.safetensors")
LONGEST_IMPORT = 1500.0  # seconds
OID = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class RemoteFile:
    """A file as the other hub lists it; its digests are empty where it says none."""

    path: str
    size: int
    sha256: str
    git_oid: str


@dataclass(frozen=True)
class Remote:
    """A commit of a repository elsewhere: what of it can be an adapter."""

    commit: str
    licence: str
    files: Mapping[str, RemoteFile]

    @property
    def size(self) -> int:
        """Bytes of all that is wanted."""
        return sum(file.size for file in self.files.values())


def bring(claim: Claim) -> None:
    reach("import.claimed")
    mirror = Mirror.objects.select_related("library", "owner").get(pk=claim.ids["mirror_id"])
    try:
        require_allowed(mirror.endpoint)
        with Outside(mirror.endpoint, seconds=LONGEST_IMPORT) as outside:
            remote = remote_of(outside.json(_listing(mirror), {"blobs": "true"}))
            if remote.commit == mirror.commit and not mirror.note:
                services.record_nothing(claim, mirror.pk, note="", commit=remote.commit)
                jobs.log(claim, f"nothing new since {remote.commit}")
                return
            _bring(claim, mirror, outside, remote)
    except (Refused, BadArchive, TooLarge, Invalid, Conflict) as error:
        services.record_nothing(claim, mirror.pk, note=str(error))
        jobs.log(claim, f"nothing was taken: {error}")
    except Unreachable as error:
        services.record_nothing(claim, mirror.pk, note=f"{error}; it is tried again")
        raise


def _bring(claim: Claim, mirror: Mirror, outside: Outside, remote: Remote) -> None:
    note = _seen_before(mirror, remote.files[WEIGHTS])
    if note:
        services.record_nothing(claim, mirror.pk, note=note, commit=remote.commit)
        jobs.log(claim, note)
        return
    with work_folder() as folder:
        release = upload(mirror, remote, fetched(claim, mirror, outside, remote, folder))
    reach("import.uploaded")
    services.record_release(claim, mirror.pk, release, commit=remote.commit, licence=remote.licence)
    jobs.log(claim, f"{release} from {mirror} at {remote.commit}, {remote.size:,} bytes")


def _seen_before(mirror: Mirror, weights: RemoteFile) -> str:
    """Why there is nothing to take: they went there from here, or somebody else has them here."""
    names = {"sha256": weights.sha256, "git_oid": weights.git_oid}
    sent = exports.came_from_here(mirror.endpoint, mirror.repo, **names)
    if sent is not None:
        is_secret = sent.release is not None and sent.release.adapter.private
        what = "" if is_secret else f", as {sent.release or sent.checkpoint}"
        return f"these weights came from here{what}"
    known = queries.with_weights(mirror.library, **names)
    if known is not None and known.adapter.owner_id != mirror.owner_id:
        return f"these weights are here already, as release {known.number} of {known.adapter.full_name}"
    return ""


def remote_of(info: Any) -> Remote:
    """What a model's information says, believed as little as possible. Raises Refused."""
    if not isinstance(info, dict):
        raise Refused("its description is not an object")
    commit = info.get("sha")
    if not isinstance(commit, str) or len(commit) != 40 or not OID.issuperset(commit):  # noqa: PLR2004
        raise Refused(f"its commit is {commit!r}; expected 40 hex digits")
    listed = [entry for entry in info.get("siblings") or () if isinstance(entry, dict)]
    files = {file.path: file for entry in listed if (file := _file(entry)) and file.path in WANTED}
    lacking = [path for path in NEEDED if path not in files]
    if lacking:
        raise Refused(f"it has no {' and no '.join(lacking)}: it is no PEFT adapter in safetensors")
    total = sum(file.size for file in files.values())
    if total > settings.LIMITS.adapter_bytes:
        raise Refused(f"it has {total:,} bytes; an adapter may have {settings.LIMITS.adapter_bytes:,}")
    card = info.get("cardData")
    licence = card.get("license") if isinstance(card, dict) else None
    return Remote(commit, licence[:100] if isinstance(licence, str) else "", files)


def _file(entry: Mapping[str, Any]) -> RemoteFile | None:
    path, size, lfs = entry.get("rfilename"), entry.get("size"), entry.get("lfs")
    if not isinstance(path, str) or not isinstance(size, int) or size < 0 or paths.check_path(path):
        return None
    sha256 = lfs.get("sha256") if isinstance(lfs, dict) else None
    git_oid = None if sha256 else entry.get("blobId")
    return RemoteFile(
        path,
        size,
        sha256 if isinstance(sha256, str) else "",
        git_oid if isinstance(git_oid, str) else "",
    )


def fetched(claim: Claim, mirror: Mirror, outside: Outside, remote: Remote, folder: Path) -> list[StagedFile]:
    """The files, each as long and with the digest that was said. Raises Refused, Unreachable."""
    report, before, found = reporter(claim), 0, []
    for path, file in sorted(remote.files.items()):
        target = folder / hashlib.sha256(path.encode()).hexdigest()

        def progress(done: int, *, so_far: int = before, path: str = path) -> None:
            report(so_far + done, remote.size, f"Fetching {path}")

        address = f"/{mirror.repo}/resolve/{remote.commit}/{quote(path)}"
        outside.download(address, target, most=file.size, progress=progress)
        _verify(file, target)
        before += file.size
        found.append(StagedFile(path, target))
    return found


def _verify(file: RemoteFile, target: Path) -> None:
    names = names_of(target)
    said = (file.size, file.sha256 or names.sha256, file.git_oid or names.git_oid)
    if said != (names.size, names.sha256, names.git_oid):
        raise Refused(
            f"{file.path} is not what it was said to be: {names.size:,} bytes with sha256 {names.sha256} "
            f"came, {file.size:,} bytes with {file.sha256 or file.git_oid or 'no digest'} were announced"
        )


def upload(mirror: Mirror, remote: Remote, files: list[StagedFile]) -> Release:
    """Through the door that every upload takes."""
    return adapters.receive_upload(
        owner=mirror.owner,
        library=mirror.library,
        name=mirror.name,
        files=files,
        message=f"Imported from {mirror.endpoint}/{mirror.repo} at {remote.commit}",
    )


def require_allowed(endpoint: str) -> None:
    """The operator may have changed their mind since it was asked for. Raises Refused."""
    if endpoint not in settings.IMPORT_FROM:
        raise Refused(
            f"this hub imports from {endpoint} no longer; the operator decides (FLETCH_IMPORT_FROM)"
        )


def _listing(mirror: Mirror) -> str:
    return f"/api/models/{mirror.repo}/revision/{quote(mirror.revision, safe='')}"
