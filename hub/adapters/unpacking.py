"""What reading any archive shares: a budget of real output bytes, and a place where members are written one
by one.

Nothing is ever extracted under a name that the archive chose (RELIABILITY A1, A3, A4).
"""

from collections.abc import Iterable
from pathlib import Path

from django.conf import settings

from hub.adapters import paths
from hub.adapters.staging import StagedFile
from hub.blobs import space
from hub.errors import BadArchive

LOOK_AT_THE_DISK_EVERY = 64 * 1024 * 1024
MAGICS = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x28\xb5\x2f\xfd": "a zstd file",
}
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")


def refuse(check: str, *, file: str = "", found: str, expected: str) -> BadArchive:
    """The error for one thing that is wrong with an archive."""
    finding = paths.finding(check, file, found=found, expected=expected)
    return BadArchive(f"The archive cannot be accepted: {file + ': ' if file else ''}{found}.", [finding])


class Budget:
    """Counts what comes out of an archive of `packed` bytes, and stops it at the caps."""

    def __init__(self, packed: int) -> None:
        self.packed = packed
        self.spent = 0
        self._looked_at = 0

    def spend(self, size: int) -> None:
        """Raises BadArchive, StorageFull."""
        self.spent += size
        limits = settings.LIMITS
        if self.spent > limits.adapter_bytes:
            raise refuse(
                "archive-is-no-bomb",
                found=f"more than {limits.adapter_bytes:,} bytes when unpacked",
                expected=f"at most {limits.adapter_bytes:,}",
            )
        if self.spent > limits.ratio_floor_bytes and self.spent > limits.ratio * self.packed:
            raise refuse(
                "archive-is-no-bomb",
                found=f"{self.spent:,} bytes or more out of {self.packed:,}",
                expected=f"at most {limits.ratio} times the packed size; weights hardly shrink when packed",
            )
        if self.spent - self._looked_at > LOOK_AT_THE_DISK_EVERY:
            self._looked_at = self.spent
            space.check_room_for(0)


class Unpacked:
    """The files that came out so far, each in a file of ours with a number for a name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[StagedFile] = []

    def expect(self, name: str) -> None:
        """Refuse a name before any of its bytes is written. Raises BadArchive."""
        findings = paths.check_path(name)
        if findings:
            raise BadArchive("The archive cannot be accepted: a name in it is not safe.", findings)

    def add(self, name: str, content: Iterable[bytes]) -> None:
        """Write one member; what operating systems leave behind is read but not kept. Raises BadArchive."""
        self.expect(name)
        source = self.folder / f"member-{len(self.files)}"
        head = b""
        with source.open("xb") as file:
            for chunk in content:
                head = head if len(head) > TAR_MAGIC_AT + len(TAR_MAGIC) else head + chunk[:512]
                file.write(chunk)
        if paths.is_litter(name):
            source.unlink()
            return
        _check_not_packed(name, head)
        self.files.append(StagedFile(name, source))

    def tree(self) -> list[StagedFile]:
        """All files as seen from the one folder that holds them, if there is one. Raises BadArchive."""
        names = paths.without_common_folder([file.path for file in self.files])
        findings = paths.check_paths(names)
        if findings:
            raise BadArchive("The archive cannot be accepted; the findings say why.", findings)
        return [StagedFile(name, file.source) for name, file in zip(names, self.files, strict=True)]


def check_count(count: int) -> None:
    """Raises BadArchive."""
    if count > settings.LIMITS.members:
        raise refuse(
            "archive-has-few-members",
            found=f"{count} members or more",
            expected=f"at most {settings.LIMITS.members}",
        )


def _check_not_packed(name: str, head: bytes) -> None:
    kind = next((what for magic, what in MAGICS.items() if head.startswith(magic)), None)
    if head[TAR_MAGIC_AT:].startswith(TAR_MAGIC):
        kind = "a tar archive"
    if name.lower().endswith(PACKED):
        kind = kind or "an archive by its name"
    if kind:
        raise refuse(
            "archive-is-not-nested",
            file=name,
            found=f"{name} is {kind}",
            expected="plain files",
        )
