"""What assembling a version takes is counted before anything is read: what fits is read, what does not is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from routing.index import ExpertEntry
from routing.resident import Shelf
from routing.store import Current
from workers.serving import room, versions
from workers.serving.guests import Guests
from workers.serving.promises import NotEnoughMemory
from workers.serving.room import Room
from workers.serving.versions import assemble, with_guests

SIZES = {"ada/plain": (10, 400), "bob/wide": (10, 700)}  # bytes of vectors and of factors
VECTORS, FACTORS, LARGEST = 20, 1100, 700


class Reached(Exception):
    """The version was admitted."""


def entry(name: str, sizes: tuple[int, int]) -> ExpertEntry:
    return ExpertEntry(name, "r1", f"v-{name}", f"f-{name}", *sizes)


def begin(
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    *,
    meanwhile: Callable[[Callable[[int, int, str], None]], None] = lambda _read: None,
    dtype: torch.dtype = torch.float32,
    known: Any = None,
    shelf: Shelf | None = None,
) -> None:
    """Assemble a version of the two where so many bytes are free; `meanwhile` can say that experts are read."""

    def reached(*_: object, progress: Callable[[int, int, str], None], **__: object) -> None:
        meanwhile(progress)
        raise Reached

    monkeypatch.setattr(room, "free_memory", lambda _device: free)
    monkeypatch.setattr(versions, "load_pack", reached)
    manifest = SimpleNamespace(experts=tuple(entry(*one) for one in SIZES.items()))
    base = base_of(dtype)
    store: Any = SimpleNamespace(read_manifest=lambda _digest: manifest)
    model: Any = SimpleNamespace(base=base)
    previous: Any = known and SimpleNamespace(pack=known)
    assemble(store, model, library="tales", current=Current(1, "m"), previous=previous, room=Room(shelf))


def base_of(dtype: torch.dtype) -> SimpleNamespace:
    """A base of which nothing is read."""
    return SimpleNamespace(dtype=dtype, device=torch.device("cpu"), devices=None, spec=None)


def whole(pack: SimpleNamespace) -> Any:
    """A version in memory with everybody's factors."""
    model = SimpleNamespace(base=base_of(torch.float32))
    return SimpleNamespace(library="tales", pack=pack, model=model, resident=None)


def held(*, takes: bool) -> SimpleNamespace:
    """A version in memory with one of the two, to which the other one can be added or not."""
    return SimpleNamespace(keys=("v-ada/plain+f-ada/plain",), takes=lambda _new, _kept: takes, parts=1)


@pytest.mark.parametrize(
    ("case", "needed"),
    [
        # Factors go to their place one expert after the other, so only one of them is there twice.
        ({}, 2 * VECTORS + FACTORS + LARGEST),
        ({"dtype": torch.bfloat16}, 2 * VECTORS + (FACTORS + LARGEST) // 2),
        # Of one that stays vectors are copied, and factors where nothing can be added; who is new is read first.
        ({"known": held(takes=False)}, 10 + 400 + 2 * (10 + 700)),
        ({"known": held(takes=True)}, 10 + 2 * (10 + 700)),
    ],
    ids=["first", "half precision", "following", "added"],
)
def test_a_version_is_admitted_where_what_it_takes_is_free_and_refused_with_a_byte_less(
    case: Mapping[str, Any], needed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Reached):
        begin(monkeypatch, needed, **case)
    with pytest.raises(NotEnoughMemory):
        begin(monkeypatch, needed - 1, **case)


@pytest.mark.parametrize(("takes", "copied"), [(True, 200), (False, 200 + 600)])
def test_guests_are_admitted_beside_what_is_copied_for_them_and_rows_that_are_nobodys_are_not(
    *, takes: bool, copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr(versions, "join_guests", reached)
    asked: list[tuple[int, int]] = []

    def can(new: int, kept: int) -> bool:
        asked.append((new, kept))
        return takes

    known = SimpleNamespace(nbytes=1000, factor_bytes=800, owned_bytes=600, takes=can, parts=1)
    version = whole(known)
    store: Any = None
    guests = Guests((entry("ada/plain", (10, 400)),))

    for free, expected in ((copied + 820, Reached), (copied + 819, NotEnoughMemory)):
        monkeypatch.setattr(room, "free_memory", lambda _device, free=free: free)
        with pytest.raises(expected):
            with_guests(store, version, guests)
    assert asked == [(400, 600)] * 2


def test_what_is_promised_to_one_version_is_not_to_another_until_it_is_taken_or_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = 2 * VECTORS + FACTORS + LARGEST
    took = sum(SIZES["ada/plain"])
    refused: list[str] = []

    def meanwhile(read: Callable[[int, int, str], None]) -> None:
        with pytest.raises(NotEnoughMemory) as too_little:
            begin(monkeypatch, 2 * needed - 1)
        refused.append(str(too_little.value))
        with pytest.raises(Reached):
            begin(monkeypatch, 2 * needed)
        read(1, 2, "ada/plain")
        with pytest.raises(NotEnoughMemory):
            begin(monkeypatch, 2 * needed - took - 1)
        with pytest.raises(Reached):
            begin(monkeypatch, 2 * needed - took)

    with pytest.raises(Reached):
        begin(monkeypatch, needed, meanwhile=meanwhile)
    with pytest.raises(Reached):
        begin(monkeypatch, needed)

    assert "of them for what is being loaded beside it" in refused[0]


def test_guests_are_not_promised_what_others_are_about_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda _device: 820)
    known = SimpleNamespace(nbytes=0, factor_bytes=0, owned_bytes=0, takes=lambda _new, _kept: True, parts=1)
    version = whole(known)
    guests = Guests((entry("ada/plain", (10, 400)),))
    store: Any = None
    depth: list[int] = []

    def joining(*_: object, **__: object) -> None:
        depth.append(1)
        with_guests(store, version, guests)

    monkeypatch.setattr(versions, "join_guests", joining)
    with pytest.raises(NotEnoughMemory, match="of them for what is being loaded"):
        with_guests(store, version, guests)

    assert len(depth) == 1
