"""Experts between an accelerator's memory, the host's and the disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from routing.halves import Halves
from routing.residence import Residence
from routing.resident import Shelf, Warm
from tests.routing.kinds import llama_kinds
from tests.routing.published import PublishedLibrary
from tests.routing.served import CPU, Served


class Near(Halves):
    """Factors in an accelerator's memory."""


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """This machine's memory stands for an accelerator's too; what is copied between them is counted."""
    crossed, near = Counter[str](), object()

    def on(half: Halves, device: object) -> Halves:
        if (device is near) == isinstance(half, Near):
            return half
        crossed["to" if device is near else "back"] += 1
        copied = half.copied(CPU)
        return (Near if device is near else Halves)(copied.a, copied.b, copied.scaled, copied.recognised)

    monkeypatch.setattr("routing.resident.device_at", lambda _devices, _name: near)
    monkeypatch.setattr(Halves, "on", on)
    return crossed


@pytest.fixture
def alike(tmp_path: Path) -> Served:
    """Ten experts of one size."""
    published = PublishedLibrary(tmp_path / "store", llama_kinds(tmp_path / "adapters"))
    factors = published.library.experts()["ada/lora"]
    published.entries = {
        f"x{number}/one": published.keep(
            f"x{number}/one", {name: replace(one, b=one.b * (1 + number)) for name, one in factors.items()}
        )
        for number in range(10)
    }
    return Served(published)


def test_what_was_heard_all_the_time_is_the_last_that_the_host_forgets(
    alike: Served, crossed: Counter[str]
) -> None:
    found, (hot, *others) = list[str](), alike.bare.experts
    size, modules = alike.size(hot), len(alike.bare.modules)
    told = lambda _owner, source: found.append(source)  # noqa: E731
    shelf = Shelf(Residence(2 * size), Warm(4 * size), told=told)
    resident = alike.resident(shelf=shelf)

    def hear(name: str) -> str:
        found.clear()
        resident.packs([frozenset({alike.bare.places[name]})])
        return found[0] if found else "near"

    first = [(hear(hot), hear(other)) for other in others[:-1]]
    assert first == [("disk", "disk"), *[("near", "disk")] * 7]
    assert crossed["back"] == 0  # the host has the others still
    hear(others[-1])
    hear(others[0])  # long gone from the host: read, and the hot one has left the accelerator

    assert crossed["back"] == modules
    assert [hear(name) for name in (others[0], hot, others[-1], others[2])] == [
        "near",
        "host",
        "host",
        "disk",
    ]
