"""Honest archives are read, and one that would write elsewhere or deceive by a name is refused with a finding."""

import gzip
import io
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.hub.packing import (
    CONFIG,
    HONEST,
    PACKS,
    WEIGHTS,
    Unpack,
    as_tar,
    refused,
)


@pytest.mark.parametrize("kind", PACKS)
def test_an_honest_archive_is_read_from_inside_its_one_folder(unpack: Unpack, kind: str) -> None:
    assert unpack(PACKS[kind](HONEST), kind) == {
        "adapter_config.json": CONFIG,
        "adapter_model.safetensors": WEIGHTS,
    }


@pytest.mark.parametrize("kind", PACKS)
def test_files_without_a_common_folder_keep_their_paths(unpack: Unpack, kind: str) -> None:
    assert set(unpack(PACKS[kind]({"a.json": b"1", "sub/b.txt": b"2"}), kind)) == {"a.json", "sub/b.txt"}


@pytest.mark.parametrize(
    "command",
    [["tar", "cf"], ["tar", "czf"], ["tar", "--format=gnu", "-cf"], ["tar", "--format=ustar", "-cf"]],
)
def test_what_the_tar_program_packs_is_read(unpack: Unpack, tmp_path: Path, command: list[str]) -> None:
    folder = tmp_path / ("n" * 90) / ("m" * 60)
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_bytes(CONFIG)
    name = "a.tar.gz" if "czf" in command else "a.tar"
    subprocess.run([*command, str(tmp_path / name), folder.parent.name], cwd=tmp_path, check=True)

    assert unpack((tmp_path / name).read_bytes(), name) == {f"{folder.name}/adapter_config.json": CONFIG}


def test_a_zip_written_to_a_pipe_is_read(unpack: Unpack) -> None:
    class Pipe(io.RawIOBase):
        """Not seekable: the packer writes sizes after each member."""

        def __init__(self) -> None:
            self.content = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, part: object) -> int:
            self.content += bytes(part)  # type: ignore[call-overload]
            return len(bytes(part))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in HONEST.items():
            archive.writestr(name, content)

    assert unpack(bytes(pipe.content), "a.zip") == {
        "adapter_config.json": CONFIG,
        "adapter_model.safetensors": WEIGHTS,
    }


@pytest.mark.parametrize("kind", PACKS)
def test_what_operating_systems_leave_behind_is_dropped(unpack: Unpack, kind: str) -> None:
    litter = {"adapter/.DS_Store": b"x", "adapter/._adapter_config.json": b"x"}

    assert set(unpack(PACKS[kind]({**HONEST, **litter}), kind)) == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


EVIL_NAMES = [
    "../x",
    "/x",
    "a/../../x",
    "C:\\x",
    "C:x",
    "a\\b",
    "a//b",
    "./a",
    "a/./b",
    "name ",
    " name",
    "dir /x",
    "x.",
    "zero\u200bwidth",
    "caf\u00e9",
    "tab\tx",
    "new\nline",
    "a" * 300,
    "/".join("abcdefghijk"),
]


@pytest.mark.parametrize("kind", PACKS)
@pytest.mark.parametrize("name", EVIL_NAMES)
def test_names_that_lead_outside_or_deceive_are_refused_by_name(unpack: Unpack, kind: str, name: str) -> None:
    assert set(refused(unpack, PACKS[kind]({"ok.json": b"1", name: b"evil"}), kind)) == {"path-is-safe"}


TWINS = [
    ("a.json", "A.json"),
    ("dir/a", "Dir/a"),
    ("a.json", "a.json"),
    ("a", "a/b"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", PACKS)
@pytest.mark.parametrize("twins", TWINS)
def test_two_names_that_some_reader_takes_for_one_are_refused(
    unpack: Unpack, kind: str, twins: tuple[str, str]
) -> None:
    def pack(files: list[tuple[str, bytes]]) -> bytes:
        if kind == "a.zip":
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as archive:
                for name, content in files:
                    archive.writestr(name, content)
            return out.getvalue()
        plain = (
            b"".join(as_tar({name: content}, tarfile.USTAR_FORMAT)[:1024] for name, content in files)
            + b"\0" * 10240
        )
        return plain if kind == "a.tar" else gzip.compress(plain)

    assert refused(unpack, pack([(twins[0], b"1"), (twins[1], b"2"), ("z", b"3")]), kind) == [
        "path-is-unique"
    ]


TAR_TYPES = [
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.CONTTYPE,
    b"S",
]


@pytest.mark.parametrize("type_", TAR_TYPES)
def test_links_devices_and_sparse_files_in_a_tar_are_refused(unpack: Unpack, type_: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.type, info.linkname = type_, "/etc/passwd"
        archive.addfile(info)

    assert refused(unpack, out.getvalue(), "a.tar") == ["archive-holds-files-only"]


@pytest.mark.parametrize(
    "mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o600, stat.S_IFCHR | 0o600, stat.S_IFREG | 0o4755]
)
def test_links_devices_and_setuid_files_in_a_zip_are_refused(unpack: Unpack, mode: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, "/etc/passwd")

    assert refused(unpack, out.getvalue(), "a.zip") == ["archive-holds-files-only"]


def test_a_setuid_file_in_a_tar_is_refused(unpack: Unpack) -> None:
    info = tarfile.TarInfo("x")
    info.mode = 0o4755

    assert refused(unpack, info.tobuf() + b"\0" * 1024, "a.tar") == ["archive-holds-files-only"]
