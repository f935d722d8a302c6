"""Composed checkpoints: one tar that exists nowhere, or file by file."""

from functools import partial

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.http import require_safe

from hub import ranges
from hub.accounts.visitors import visitor
from hub.blobs import services as blobs
from hub.errors import NotFound
from hub.indexes import archive, queries
from hub.indexes.models import CheckpointFile


@require_safe
def checkpoint_archive(request: HttpRequest, checkpoint_id: int) -> HttpResponseBase:
    """The whole directory as an uncompressed tar."""
    visitor(request)  # a bad token is refused here too
    checkpoint = queries.downloadable_checkpoint(checkpoint_id)
    files = [(file.path, file.blob) for file in checkpoint.files.select_related("blob")]
    tar = archive.Tar(archive.layout(checkpoint.folder, files))
    name = f"{checkpoint.folder}.tar"
    download = ranges.Download(name, checkpoint.archive_digest, checkpoint.archive_size, tar.read)
    return ranges.answer(request, download)


@require_safe
def checkpoint_file(request: HttpRequest, checkpoint_id: int, path: str) -> HttpResponseBase:
    """One file of the directory."""
    visitor(request)
    checkpoint = queries.downloadable_checkpoint(checkpoint_id)
    file = CheckpointFile.objects.select_related("blob").filter(checkpoint=checkpoint, path=path).first()
    if file is None:
        raise NotFound(f"composed checkpoint {checkpoint_id} has no file {path}")
    name = path.rpartition("/")[2]
    download = ranges.Download(name, file.blob.sha256, file.blob.size, partial(blobs.read, file.blob))
    return ranges.answer(request, download)
