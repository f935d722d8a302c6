"""Both places for blobs keep one contract: the folder, and a bucket of a real S3 server on loopback."""

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from django.conf import settings
from moto.server import ThreadedMotoServer
from mypy_boto3_s3 import S3Client

from hub.blobs import services
from hub.blobs.content import BlobStorage
from hub.blobs.folder import FolderBlobs
from hub.blobs.models import Blob
from hub.blobs.s3 import S3Blobs
from hub.blobs.space import check_room_for
from hub.errors import StorageFull
from hub.faults import ArmedFault
from tests.hub import making

CONTENT = os.urandom(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def client_of(address: str) -> S3Client:
    return boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStorage:
    if request.param == "folder":
        return FolderBlobs(tmp_path / "blobs", tmp_path / "tmp")
    address = request.getfixturevalue("s3_address")
    bucket = f"blobs-{tmp_path.name.replace('_', '-')[-40:]}".lower().rstrip("-")
    client_of(address).create_bucket(Bucket=bucket)
    return S3Blobs(
        tmp_path / "cache",
        bucket_name=bucket,
        location="hub",
        endpoint_url=address,
        access_key="a",
        secret_key="b",
        region_name="us-east-1",
    )


def put(place: BlobStorage, tmp_path: Path) -> None:
    source = tmp_path / "tmp" / "source"
    source.write_bytes(CONTENT)
    place.put(source, DIGEST)


def test_what_was_put_can_be_read_whole_in_part_and_as_a_file(place: BlobStorage, tmp_path: Path) -> None:
    put(place, tmp_path)

    assert place.has(DIGEST)
    assert place.size_of(DIGEST) == len(CONTENT)
    assert b"".join(place.read(DIGEST, start=0, length=len(CONTENT))) == CONTENT
    assert b"".join(place.read(DIGEST, start=7, length=1_500_000)) == CONTENT[7:1_500_007]
    assert b"".join(place.read(DIGEST, start=7, length=0)) == b""
    assert place.local_path(DIGEST).read_bytes() == CONTENT
    assert stat.S_IMODE(place.local_path(DIGEST).stat().st_mode) == 0o444


def test_putting_again_changes_nothing(place: BlobStorage, tmp_path: Path) -> None:
    put(place, tmp_path)
    put(place, tmp_path)

    assert [(found.sha256, found.size) for found in place.listing()] == [(DIGEST, len(CONTENT))]


def test_what_is_not_there_is_said_to_be_missing(place: BlobStorage) -> None:
    assert not place.has(DIGEST)
    for look in (place.size_of, place.local_path, lambda name: list(place.read(name, start=0, length=1))):
        with pytest.raises(FileNotFoundError):
            look(DIGEST)


def test_what_was_removed_is_gone(place: BlobStorage, tmp_path: Path) -> None:
    put(place, tmp_path)
    place.local_path(DIGEST)
    place.remove(DIGEST)
    place.remove(DIGEST)

    assert not place.has(DIGEST)
    assert list(place.listing()) == []


def test_a_place_says_whether_it_can_be_written(place: BlobStorage) -> None:
    assert place.is_writable()


def test_a_bucket_that_gives_other_bytes_is_not_believed(s3_address: str, tmp_path: Path) -> None:
    client = client_of(s3_address)
    client.create_bucket(Bucket="lies")
    client.put_object(Bucket="lies", Key=f"{DIGEST[:2]}/{DIGEST}", Body=b"other")
    place = S3Blobs(
        tmp_path,
        bucket_name="lies",
        endpoint_url=s3_address,
        access_key="a",
        secret_key="b",
        region_name="us-east-1",
    )

    with pytest.raises(OSError, match="other bytes"):
        place.local_path(DIGEST)
    assert not list(tmp_path.rglob(DIGEST))


def test_names_that_are_no_digest_lead_nowhere(tmp_path: Path) -> None:
    place = FolderBlobs(tmp_path, tmp_path)

    for name in ("../../etc/passwd", "", "a" * 63, "A" * 64):
        with pytest.raises(FileNotFoundError):
            place.local_path(name)


@pytest.mark.django_db
def test_the_same_bytes_are_stored_once_under_both_their_names() -> None:
    one = services.store(io.BytesIO(b"hello\n"))
    two = services.store(io.BytesIO(b"hello\n"))

    assert one == two
    assert Blob.objects.get().git_oid == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert list(settings.TEMPORARY.iterdir()) == []


@pytest.mark.django_db
@pytest.mark.parametrize("point", ["upload.temp_synced", "upload.renamed", "upload.before_blob_row"])
def test_an_upload_that_dies_on_the_way_can_be_sent_again(settings: object, point: str) -> None:
    settings.CRASH = f"{point}:raise"  # type: ignore[attr-defined]
    with pytest.raises(ArmedFault):
        services.store(io.BytesIO(CONTENT))
    assert not Blob.objects.exists()
    settings.CRASH = ""  # type: ignore[attr-defined]

    blob = services.store(io.BytesIO(CONTENT))

    assert b"".join(services.read(blob)) == CONTENT


def test_room_is_refused_below_the_floor(settings: object) -> None:
    settings.LIMITS = making.limits(free_bytes=1, free_fraction=0.5)  # type: ignore[attr-defined]
    check_room_for(0)

    with pytest.raises(StorageFull, match="in reserve"):
        check_room_for(10**18)
