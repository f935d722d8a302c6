"""Memory that answers were allowed is theirs: versions that requests name or bring experts for leave it alone."""

from __future__ import annotations

import pytest
import torch

from tests.routing.published import PublishedLibrary
from tests.serving.following import Follower
from workers.serving import answer_memory, room
from workers.serving.errors import ApiError
from workers.serving.guests import Guests
from workers.serving.library import Library
from workers.serving.options import MEGABYTE, Limits
from workers.serving.promises import PROMISES, NotEnoughMemory, nothing

GIB = 2**30
ROOM = 10**6  # bytes: any of the versions here can be assembled in it
MEMBERS = (["ada/plain"], ["ada/plain", "bob/wide"], ["ada/plain", "bob/wide", "cy/attention"])


class Machine:
    """What is free on the device, for whoever looks."""

    free: int | None = 10 * GIB


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    for module in (answer_memory, room):
        monkeypatch.setattr(module, "free_memory", lambda _device: found.free)
    return found


def followed(published: PublishedLibrary, limits: Limits) -> tuple[Follower, Library]:
    """Two versions, of which the second is live."""
    for number, members in enumerate(MEMBERS[:2], start=1):
        published.publish(number, members)
    follower = Follower(published, limits)
    return follower, follower.look()


def private(follower: Follower, library: Library) -> None:
    """Have a version with a private expert assembled."""
    assert library.live is not None
    follower.libraries.joined.version(library.live, Guests((follower.published.entries["eve/late"],)))


def test_a_version_that_a_request_names_leaves_alone_what_answers_may_yet_take(
    published: PublishedLibrary, machine: Machine
) -> None:
    _, library = followed(published, Limits(memory_megabytes=1024))
    machine.free = GIB + 100

    with pytest.raises(NotEnoughMemory) as refused:
        library.version(1)
    machine.free = GIB + ROOM

    said = "1.00 GiB are free, 1.00 of them for what answers may yet take (--memory-megabytes)"
    assert said in str(refused.value)
    assert library.version(1).number == 1


def test_a_version_with_private_experts_does_so_too(published: PublishedLibrary, machine: Machine) -> None:
    follower, library = followed(published, Limits(memory_megabytes=1024))
    machine.free = GIB + 100

    with pytest.raises(ApiError, match=r"1\.00 of them for what answers may yet take") as refused:
        private(follower, library)
    machine.free = GIB + ROOM
    private(follower, library)

    assert (refused.value.status, refused.value.code) == (429, "private_busy")
    assert [version.own for version in follower.libraries.joined.of("tales")] == [{"eve/late"}]


def test_what_answers_have_taken_is_not_kept_for_them_once_more(
    published: PublishedLibrary, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower, library = followed(published, Limits(memory_megabytes=1024))
    taken = {"tiny": 1000 * MEGABYTE, "another": 24 * MEGABYTE - 1}
    monkeypatch.setattr(follower.engine, "memory_bytes", lambda: taken)
    machine.free = ROOM + 1

    assert follower.libraries.memory.unused == 1
    assert library.version(1).number == 1
    taken["tiny"] += GIB  # of a limit that was higher when they began
    assert follower.libraries.memory.unused == 0


def test_a_new_live_version_goes_first_and_what_answers_may_take_falls(
    published: PublishedLibrary, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        answer_memory, "_bytes", lambda live: sum(one.number * 100 * MEGABYTE for one in live)
    )
    follower, _ = followed(published, Limits())
    before = follower.libraries.memory.unused
    machine.free = ROOM  # far less than answers were promised
    published.publish(3, MEMBERS[2])

    trouble = follower.look().trouble

    assert (follower.served, trouble) == (3, None)
    assert before - follower.libraries.memory.unused == 50 * MEGABYTE
    assert before > ROOM


@pytest.mark.parametrize("free", [ROOM, None])
def test_where_answers_have_no_limit_nothing_is_kept_for_them(
    published: PublishedLibrary, machine: Machine, free: int | None
) -> None:
    follower, library = followed(published, Limits(memory_megabytes=None))
    machine.free = free
    private(follower, library)

    assert follower.libraries.memory.unused == 0
    assert library.version(1).number == 1


def test_what_somebody_is_about_to_take_is_not_counted_as_free_for_answers(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(1)
    alone, beside = Follower(published), Follower(published)
    resident, later = (Follower(published, Limits(expert_megabytes=4096)) for _ in range(2))
    alone.look()
    with PROMISES.promised(
        torch.device("cpu"), 2 * GIB, free=lambda _device: 4 * GIB, kept=nothing, refusal=_refused
    ):
        beside.look()
        resident.look()  # its shelf is not filled, and that is where what was promised will lie

    assert alone.libraries.memory.unused - beside.libraries.memory.unused == GIB
    assert later.look().trouble is None
    assert resident.libraries.memory.unused == later.libraries.memory.unused


def _refused(found: object) -> NotEnoughMemory:
    return NotEnoughMemory(str(found))
