"""What an upload may weigh. One value, read by the checks at the door and shown on the upload page."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True)
class Limits:
    """Caps on strangers' bytes. Sizes in bytes, counted while they arrive and never believed from a
    header.
    """

    archive_bytes: int = GIB
    adapter_bytes: int = 2 * GIB
    user_quota_bytes: int = 100 * GIB
    members: int = 64
    path_length: int = 255
    path_depth: int = 8
    central_directory_bytes: int = MIB
    ratio: int = 50
    ratio_floor_bytes: int = 64 * MIB
    samples_bytes: int = 4 * MIB  # as `routing.checks.samples` reads them
    message_length: int = 2000
    free_bytes: int = 2 * GIB
    free_fraction: float = 0.05

    @property
    def request_bytes(self) -> int:
        """The largest body of one upload request: the files, the samples and a little for the form around
        them.
        """
        return self.adapter_bytes + self.samples_bytes + MIB
