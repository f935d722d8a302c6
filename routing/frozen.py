"""Proof that training changed nothing but what it was to train: a digest of every frozen number."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from routing.base import Base
from routing.errors import RoutingError


class FrozenChanged(RoutingError):
    """Training changed something that was frozen: a bug here, and what was trained cannot be believed."""


@contextlib.contextmanager
def unchanged(base: Base, frozen: Mapping[str, Tensor]) -> Iterator[None]:
    """Raise FrozenChanged if the base or these tensors of experts are others when the block ends."""
    before = frozen_digest(base, frozen)
    yield
    if frozen_digest(base, frozen) != before:
        raise FrozenChanged("the base or an expert is not what it was before the training")


def frozen_digest(base: Base, frozen: Mapping[str, Tensor]) -> str:
    """A digest of every frozen number, from checksums that are computed where the tensors lie."""
    tensors = [*base.model.state_dict().items(), *frozen.items()]
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {_checksum(tensor)}\n".encode())
    return digest.hexdigest()


def _checksum(tensor: Tensor) -> tuple[int, int]:
    """The sum of the bit patterns, and of their squares, modulo 2^64: no step of an optimizer keeps both."""
    width = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.detach().contiguous().view(width).flatten()
    first = second = 0
    for part in bits.split(2**24):
        wide = part.long()
        first, second = first + int(wide.sum()), second + int((wide * wide).sum())
    return first % 2**64, second % 2**64
