"""The index store keeps what it was given, whole, unchanged and verified, in a folder and in a bucket."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import torch
from moto.server import ThreadedMotoServer

from routing.digests import digest_of
from routing.errors import BadManifest, BadName, CorruptObject, MissingObject, UnknownVersion, VersionConflict
from routing.held_back import HeldBack, of_version
from routing.index import ExpertEntry, manifest_digest, manifest_of
from routing.objects import FolderStore
from routing.spec import BaseRef
from routing.store import IndexStore, LibraryRef, open_store
from tests.routing.stored import SPEC, a_manifest, put_expert


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        boto3.client("s3").create_bucket(Bucket="index")
        yield "index"
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> IndexStore:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(f"s3://{request.getfixturevalue('bucket')}/{tmp_path.name}", cache=tmp_path / "cache")


def test_an_object_comes_back_as_it_was(store: IndexStore, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"from a file" * 1000)

    digests = [store.objects.put(b"bytes"), store.objects.put(file)]

    assert digests == [digest_of(b"bytes"), digest_of(file.read_bytes())]
    assert store.objects.read(digests[0]) == b"bytes"
    assert store.objects.path(digests[1]).read_bytes() == file.read_bytes()
    assert set(store.objects.digests()) == set(digests)


def test_an_object_that_is_not_there_is_missed_by_name(store: IndexStore) -> None:
    digest = store.objects.put(b"forgotten")
    store.objects.delete(digest)
    store.objects.delete(digest)

    assert not store.objects.exists(digest)
    with pytest.raises(MissingObject, match=digest):
        store.objects.read(digest)
    with pytest.raises(MissingObject, match=digest):
        store.objects.path(digest)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a" * 63, "A" * 64, "/" * 64])
def test_a_name_that_is_no_digest_is_no_object(store: IndexStore, name: str) -> None:
    with pytest.raises(MissingObject):
        store.objects.path(name)


def test_documents_are_replaced_and_created_once(store: IndexStore) -> None:
    assert store.objects.read_document("folder/one.json") is None
    assert store.objects.create_document("folder/one.json", b"1")
    assert not store.objects.create_document("folder/one.json", b"2")
    store.objects.write_document("folder/deeper/two.json", b"2")
    store.objects.write_document("folder/deeper/two.json", b"3")

    assert store.objects.read_document("folder/one.json") == b"1"
    assert store.objects.read_document("folder/deeper/two.json") == b"3"
    assert store.objects.children("folder") == ["deeper", "one.json"]
    assert store.objects.children("nowhere") == []


def test_a_library_is_published_read_and_promoted(store: IndexStore) -> None:
    one, two = a_manifest(store, "a/a"), a_manifest(store, "a/a", "b/b")
    store.set_library("cats", LibraryRef(BaseRef("org/base", "main"), one.base))

    digest = store.write_version("cats", 1, one)
    store.write_version("cats", 2, two)

    assert digest == manifest_digest(one)
    assert store.libraries() == ["cats"]
    assert store.versions("cats") == [1, 2]
    assert store.read_version("cats", 2) == two
    assert store.current("cats") is None
    store.set_current("cats", 2)
    store.set_current("cats", 1)
    current = store.current("cats")
    assert current is not None
    assert (current.number, current.manifest) == (1, digest)
    assert store.library_ref("cats") == LibraryRef(BaseRef("org/base", "main"), one.base)
    assert store.read_base(one.base) == SPEC
    assert set(store.reachable(digest)) <= set(store.objects.digests())


def test_a_library_says_by_which_key_its_guest_lists_are_believed(store: IndexStore) -> None:
    assert store.guest_key("cats") is None
    store.set_guest_key("cats", bytes(range(32)))
    store.set_guest_key("cats", bytes(range(1, 33)))

    assert store.guest_key("cats") == bytes(range(1, 33))
    store.objects.write_document("libraries/cats/guests.json", b'{"ed25519": "not base64"}')
    with pytest.raises(BadManifest, match=r"libraries/cats/guests\.json"):
        store.guest_key("cats")


def test_a_library_says_which_versions_are_held_back(store: IndexStore) -> None:
    assert store.held_back("cats") == ()
    held = (HeldBack("ada/bad", 2, 4), HeldBack("bob/bad", 3, 9))
    store.set_held_back("cats", held)

    assert store.held_back("cats") == held
    named = {number: of_version(store.held_back("cats"), number) for number in (1, 2, 3, 4, 9)}
    assert named == {1: [], 2: ["ada/bad"], 3: ["ada/bad", "bob/bad"], 4: ["bob/bad"], 9: []}
    store.set_held_back("cats", [])
    assert store.held_back("cats") == ()


@pytest.mark.parametrize(
    "broken", [b"{", b"{}", b'{"held_back": [{"expert": "a/b", "since": 1, "until": "2"}]}', b"[]"]
)
def test_a_broken_list_of_those_held_back_is_named(store: IndexStore, broken: bytes) -> None:
    store.objects.write_document("libraries/cats/held_back.json", broken)

    with pytest.raises(BadManifest, match=r"libraries/cats/held_back\.json"):
        store.held_back("cats")


def test_experts_come_back_as_they_were_and_equal_ones_are_kept_once(store: IndexStore) -> None:
    entry = put_expert(store, "a/a", seed=4)
    before = sorted(store.objects.digests())

    again = put_expert(store, "b/b", seed=4)

    assert (again.vectors, again.factors) == (entry.vectors, entry.factors)
    assert sorted(store.objects.digests()) == before
    factors = store.read_factors(entry)["layer.0"]
    generator = torch.Generator().manual_seed(4)
    assert torch.equal(factors.a, torch.randn(2, 8, generator=generator))
    assert torch.equal(store.read_vectors(entry)["layer.0"].prototype, factors.a[0])
    assert store.read_vectors(entry)["layer.0"].sigma.tolist() == [2.0, 1.0]
    torch.testing.assert_close(factors.sigma, factors.b.norm(dim=0))


def test_a_number_is_given_to_one_manifest_for_ever(store: IndexStore) -> None:
    one = a_manifest(store, "a/a")
    store.write_version("cats", 1, one)

    assert store.write_version("cats", 1, one) == manifest_digest(one)
    with pytest.raises(VersionConflict):
        store.write_version("cats", 1, a_manifest(store, "a/a", "b/b"))
    assert store.read_version("cats", 1) == one


def test_a_version_that_names_what_is_not_there_is_not_published(store: IndexStore) -> None:
    manifest = a_manifest(store, "a/a", "b/b")
    store.objects.delete(manifest.experts[1].factors)

    with pytest.raises(MissingObject, match=manifest.experts[1].factors):
        store.write_version("cats", 1, manifest)
    assert store.versions("cats") == []


def test_a_version_that_nobody_wrote_is_unknown(store: IndexStore) -> None:
    for number in (1, 0, -3, 10**12):
        with pytest.raises(UnknownVersion):
            store.read_version("cats", number)
    with pytest.raises(UnknownVersion):
        store.set_current("cats", 1)


@pytest.mark.parametrize(
    "library", ["../x", "a/b", "", ".", "..", "a..b", ".hidden", "a\x00b", "a\nb", "x" * 200]
)
def test_a_library_name_is_never_a_path(store: IndexStore, library: str) -> None:
    for act in (store.current, store.versions, store.library_ref):
        with pytest.raises(BadName):
            act(library)
    with pytest.raises(BadName):
        store.write_version(library, 1, a_manifest(store, "a/a"))


def test_one_more_expert_among_a_thousand_costs_what_it_costs(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    base, kept = store.put_base(SPEC), put_expert(store, "a/a")
    entries = [
        ExpertEntry(f"user{i % 31}/x{i}", f"{i:040x}", kept.vectors, kept.factors, 1, 1) for i in range(1001)
    ]
    store.write_version("cats", 1, manifest_of(base, entries[:1000]))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    store.write_version("cats", 2, manifest_of(base, entries))

    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    new = set(after) - set(before)
    assert all(after[path] == before[path] for path in before)
    assert len(new) <= 4  # the version's document, the root, and one page, or two if it was cut
    whole = sum(path.stat().st_size for path in (tmp_path / "objects").rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in new) < whole / 3


# ------------------------------------------------------------------ what a folder must withstand


def test_objects_are_read_only_and_a_flipped_byte_is_refused_by_name(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    digest = store.put(b"some bytes")
    path = store.path(digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    path.chmod(0o644)
    path.write_bytes(b"some bytez")

    for read in (store.read, store.path):
        with pytest.raises(CorruptObject, match=digest):
            read(digest)

    assert store.put(b"some bytes") == digest
    assert store.read(digest) == b"some bytes"


def test_a_flipped_byte_in_the_bucket_is_refused_and_one_in_the_cache_is_healed(
    bucket: str, tmp_path: Path
) -> None:
    store = open_store(f"s3://{bucket}/flipped", cache=tmp_path).objects
    digest = store.put(b"some bytes")
    cached = store.path(digest)
    cached.chmod(0o644)
    cached.write_bytes(b"some bytez")

    assert store.read(digest) == b"some bytes"

    key = f"flipped/objects/{digest[:2]}/{digest}"
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"some bytez")
    cached.unlink()
    with pytest.raises(CorruptObject, match=digest):
        store.read(digest)


def test_what_made_room_in_the_cache_is_brought_again(bucket: str, tmp_path: Path) -> None:
    store = open_store(f"s3://{bucket}/roomy", cache=tmp_path, cache_bytes=3000).objects
    contents = [bytes([number]) * 1000 for number in range(6)]
    digests = [store.put(content) for content in contents]
    read = []
    for digest in digests * 2:
        read.append(store.read(digest))
        cached = store.path(digest)
        os.utime(cached, (cached.stat().st_mtime - 3600,) * 2)  # as if it had been an hour ago

    here = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert read == contents * 2
    assert sum(path.stat().st_size for path in here) <= 3000
    assert {path.parent.parent.name for path in here} == {"objects"}


@pytest.mark.parametrize("moment", ["fsync", "replace", "link"])
def test_a_writer_that_is_killed_leaves_nothing_half(tmp_path: Path, moment: str) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from routing.objects import FolderStore\n"
        "def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        "owner = Path if sys.argv[2] == 'replace' else os\n"
        "setattr(owner, sys.argv[2], die)\n"
        "store = FolderStore(Path(sys.argv[1]))\n"
        "store.put(b'x' * 10**6) if sys.argv[2] != 'link' else store.create_document('v/1.json', b'{}')\n"
    )

    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path), moment], check=False)

    store = FolderStore(tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert not list(store.digests())
    assert store.children("v") == []
    assert store.remove_leftovers(older_than=3600.0) == 0
    assert store.remove_leftovers(older_than=-1.0) == 1
    assert store.read(store.put(b"x" * 10**6))


def test_many_writers_of_the_same_things_agree(tmp_path: Path) -> None:
    contents = [bytes([i]) * 5000 for i in range(20)]
    won: list[int] = []

    def write(number: int) -> None:
        store = FolderStore(tmp_path)
        for content in contents:
            store.put(content)
        if store.create_document("v/1.json", str(number).encode()):
            won.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    store = FolderStore(tmp_path)
    assert sorted(store.digests()) == sorted(digest_of(content) for content in contents)
    assert all(store.read(digest) for digest in store.digests())
    assert [str(number).encode() for number in won] == [store.read_document("v/1.json")]
    assert not list((tmp_path / "scratch").iterdir())


def test_a_store_that_cannot_be_written_can_be_read(tmp_path: Path) -> None:
    writer = open_store(str(tmp_path))
    writer.write_version("cats", 1, a_manifest(writer, "a/a"))
    os.rmdir(tmp_path / "scratch")  # noqa: PTH106 - what a read-only mount would refuse to make

    reader = open_store(str(tmp_path))

    assert reader.read_version("cats", 1).experts[0].adapter == "a/a"
    assert not (tmp_path / "scratch").exists()


def test_the_same_experts_make_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    script = (
        "import sys; from tests.routing.stored import a_manifest, open_store; store = open_store(sys.argv[1]); "
        "print(store.write_version('cats', 1, a_manifest(store, 'a/a', 'b/b')))"
    )
    folders = [tmp_path / "here", tmp_path / "there"]
    another = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"

    here = open_store(str(folders[0]))
    here.write_version("cats", 1, a_manifest(here, "a/a", "b/b"))
    environment = {**os.environ, "PYTHONHASHSEED": another}
    subprocess.run([sys.executable, "-c", script, str(folders[1])], check=True, env=environment)

    one, other = (
        {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in folders
    )
    assert one == other


def test_what_is_no_library_hides_none(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.set_library("cats", LibraryRef(BaseRef("org/base", "main"), "0" * 64))
    (tmp_path / "libraries" / ".DS_Store").write_bytes(b"")

    assert store.libraries() == ["cats"]


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"source": 1, "base": ""}'])
def test_a_broken_library_document_is_named(tmp_path: Path, content: bytes) -> None:
    store = open_store(str(tmp_path))
    store.objects.write_document("libraries/cats/library.json", content)

    with pytest.raises(BadManifest, match=r"libraries/cats/library\.json"):
        store.library_ref("cats")
