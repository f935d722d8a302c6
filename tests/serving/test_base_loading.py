"""A base is read where there is room for it, and while it is read nobody else is promised that room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from routing.base import Base
from routing.base_size import laid_size_of
from routing.laid_base import load_laid
from routing.layouts import Wanted
from routing.spread import Spread
from routing.store import LibraryRef
from tests.routing.published import PublishedLibrary
from tests.serving.following import Follower, another_base
from workers.serving import answer_memory, base_loading, room
from workers.serving.base_loading import load_model
from workers.serving.options import Limits, Options
from workers.serving.promises import PROMISES, NotEnoughMemory

CPU = torch.device("cpu")
STORED = Wanted("stored")


def free(monkeypatch: pytest.MonkeyPatch, size: Callable[[], int | None]) -> None:
    monkeypatch.setattr(base_loading, "free_memory", lambda _device: size())


def size_of(published: PublishedLibrary) -> int:
    size = laid_size_of(Path(published.base.source), torch.float32, STORED)
    assert size is not None
    return size


def load(published: PublishedLibrary, **options: Any) -> None:
    ref = LibraryRef(published.base, published.spec.digest)
    load_model(published.store, ref, Options(published.url, weights=STORED, **options))


def test_a_base_is_read_where_it_fits_and_refused_before_it_is_read_with_a_byte_less(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, read = size_of(published), list[str]()

    def watched(*args: Any, **named: Any) -> tuple[Base, Any]:
        read.append("once")
        return load_laid(*args, **named)

    monkeypatch.setattr(base_loading, "load_laid", watched)
    free(monkeypatch, lambda: size - 1)
    with pytest.raises(
        NotEnoughMemory, match=r"the base llama.* needs 0\.00 GiB while it is read, 0\.00 GiB are"
    ):
        load(published)
    assert not read
    free(monkeypatch, lambda: size)
    load(published)

    assert read == ["once"]
    assert PROMISES.of(CPU) == 0


def test_while_it_is_read_its_memory_is_not_free_for_others(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, promised = size_of(published), list[int]()

    def beside(*args: Any, **named: Any) -> tuple[Base, Any]:
        promised.append(PROMISES.of(CPU))
        with pytest.raises(NotEnoughMemory, match="of them for what is being loaded beside it"):
            load(published)
        return load_laid(*args, **named)

    monkeypatch.setattr(base_loading, "load_laid", beside)
    free(monkeypatch, lambda: 2 * size - 1)
    load(published)

    assert promised == [size]


@pytest.mark.parametrize("case", ["spread", "unknown", "nobody says"])
def test_where_nothing_is_known_nothing_is_refused(
    case: str, published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, lambda: None if case == "nobody says" else 0)
    if case == "unknown":
        monkeypatch.setattr(base_loading, "laid_size_of", lambda *_: None)

    load(published, spread=Spread() if case == "spread" else None)


def test_a_server_says_why_it_does_not_read_a_base_and_reads_it_once_there_is_room(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(1)
    follower, size = Follower(published), size_of(published)
    free(monkeypatch, lambda: size - 1)
    trouble = str(follower.look().trouble)
    free(monkeypatch, lambda: size)

    assert "NotEnoughMemory: the base llama" in trouble
    assert "--spread leaves parts of it elsewhere" in trouble
    assert follower.look().trouble is None
    assert follower.served == 1


def test_a_new_base_goes_before_answers_and_versions_that_requests_named(
    published: PublishedLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, members in enumerate((["ada/plain"], ["ada/plain", "bob/wide"]), start=1):
        published.publish(number, members)
    for module in (answer_memory, room):
        monkeypatch.setattr(module, "free_memory", lambda _device: 10**10)
    follower = Follower(published, Limits(memory_megabytes=10**6))
    monkeypatch.setattr(room, "free_memory", lambda _device: 10**13)
    library = follower.look()
    library.version(1)
    moved = another_base(published, tmp_path / "another")
    published.store.set_library("tales", moved)
    published.store.write_version("tales", 3, published.manifest(base=moved.base))
    published.store.set_current("tales", 3)
    held = list[list[int]]()

    def found() -> int:
        held.append(library.held)
        return 0 if library.held == [1, 2] else size_of(published)

    free(monkeypatch, found)

    assert follower.look().trouble is None
    assert follower.served == 3
    assert held == [[1, 2], [2]]
