"""What a library has already: every public release that ever became ready, also the withdrawn ones."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from hub.adapters.models import Release
from hub.library.models import Library
from routing.checks.copies import KnownExpert
from workers.indexing import entry
from workers.places import index_store

FINGERPRINT = np.dtype("<f4")


def known_experts(library: Library) -> Iterator[KnownExpert]:
    """Those of the library, oldest first; their factors are read when they are asked for.

    Private ones take no share of any token, and a finding that names one would tell strangers that it exists.
    """
    ready = (
        Release.objects.filter(adapter__library=library, adapter__private=False, status=Release.Status.READY)
        .select_related("adapter__owner", "commit")
        .defer("findings", "measurements", "statistics")
        .order_by("pk")
    )
    for release in ready.iterator(chunk_size=200):
        yield known(release)


def known(release: Release) -> KnownExpert:
    return KnownExpert(
        adapter=release.adapter.full_name,
        release=release.oid,
        fingerprint=torch.from_numpy(np.frombuffer(bytes(release.fingerprint or b""), FINGERPRINT).copy()),
        read_factors=partial(index_store().read_factors, entry(release)),
    )


def fingerprint_bytes(fingerprint: torch.Tensor) -> bytes:
    """As the database keeps it: little-endian float32."""
    return fingerprint.numpy().astype(FINGERPRINT).tobytes()
