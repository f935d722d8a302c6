"""What cannot be served is counted and named once for each version, tried ever less often, and takes nothing away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from routing.digests import canonical_json
from routing.spec import BaseRef
from routing.store import Current, LibraryRef
from tests.routing.published import PublishedLibrary
from tests.serving.following import Follower, another_base
from tests.serving.guest_lists import known_hub
from workers.serving import library, problems
from workers.serving.guests import Guests
from workers.serving.health import readiness
from workers.serving.libraries import NoLibraries
from workers.serving.options import Limits
from workers.serving.promises import NotEnoughMemory
from workers.serving.telemetry import Assembly

REFUSED, SWAPS = "fletch_refused_versions_total", "fletch_swaps_total"
WISH = problems.Wish(LibraryRef(BaseRef("org/base"), "0" * 64), Current(7, "m"))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (problems, library):
        monkeypatch.setattr(module, "time", _Time(clock))
    return clock


class _Time:
    def __init__(self, clock: Clock) -> None:
        self.monotonic = clock.monotonic
        self.time = clock.monotonic


def damage(published: PublishedLibrary, name: str) -> Callable[[], None]:
    """An expert's factors have a wrong bit; what is returned mends them."""
    path: Path = published.store.objects.path(published.entries[name].factors)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return lambda: (path.write_bytes(whole), None)[1]


def promote(published: PublishedLibrary, number: int, members: list[str]) -> None:
    """A version is current, whatever became of its experts."""
    manifest = published.manifest(members)
    digest = published.store.put_manifest(manifest)
    point_at(published, number, digest)


def point_at(published: PublishedLibrary, number: int, manifest: str) -> None:
    document = canonical_json({"number": number, "manifest": manifest})
    published.store.objects.write_document("libraries/tales/current.json", document)


def test_each_version_that_is_refused_is_counted_logged_and_named(
    published: PublishedLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    published.publish(1, ["ada/plain"])
    follower = Follower(published)
    follower.look()
    damage(published, "bob/wide")
    reports = []
    with caplog.at_level(logging.ERROR, logger="workers.serving.library"):
        for number, other in enumerate(["ada/plain", "cy/attention", "eve/late"], start=2):
            promote(published, number, ["bob/wide", other])
            for _ in range(3):
                follower.look()
            reports.append(readiness(follower.libraries)[1]["libraries"][0])

    assert [report["refused"]["version"] for report in reports] == [2, 3, 4]
    assert [report["problem"].partition(":")[0] for report in reports] == [
        "version 2",
        "version 3",
        "version 4",
    ]
    assert {report["refused"]["tries"] for report in reports} == {3}
    assert follower.counted(REFUSED) == 3
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert {line.partition("ExpertUnavailable: ")[2].partition(": object")[0] for line in errors} == {
        "bob/wide: CorruptObject"
    }
    assert [line.partition(": ExpertUnavailable")[0][-9:] for line in errors] == [
        "version 2",
        "version 3",
        "version 4",
    ]
    assert follower.served == 1


def test_a_version_that_is_refused_is_tried_after_ever_longer_waits_and_a_new_one_at_once(
    published: PublishedLibrary, clock: Clock
) -> None:
    told: list[Assembly] = []
    follower = Follower(published, retry_seconds=5.0, tell=told.append)
    damage(published, "bob/wide")
    promote(published, 1, ["bob/wide"])
    tried = []
    for _ in range(1000):
        before = len(told)
        follower.look()
        if len(told) > before:
            tried.append(clock.now)
        clock.now += 1.0
    promote(published, 2, ["ada/plain"])
    follower.look()

    waits = [later - earlier for earlier, later in pairwise(tried)]
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert follower.served == 2


def test_a_version_that_lacks_memory_is_looked_at_again_soon(clock: Clock) -> None:
    found = None
    for _ in range(5):
        found = problems.problem_of(WISH, None, NotEnoughMemory("found too little"), found, retry_seconds=5.0)

    assert found is not None
    assert (found.tries, found.retry_at) == (5, clock.now + 5.0)


def test_a_version_that_comes_good_is_served_and_nothing_is_said_of_it_any_more(
    published: PublishedLibrary,
) -> None:
    published.publish(1, ["ada/plain"])
    follower = Follower(published)
    follower.look()
    mend = damage(published, "bob/wide")
    promote(published, 2, ["bob/wide"])
    refused = follower.look().trouble
    mend()
    follower.look()
    published.publish(3, ["ada/plain"])
    follower.look()
    library = follower.look()

    assert refused is not None
    assert library.trouble is None
    assert readiness(follower.libraries)[1]["libraries"][0]["refused"] is None
    assert (follower.counted(REFUSED), follower.counted(SWAPS)) == (1, 3)


def test_a_number_that_names_another_version_now_is_gone_to_once(published: PublishedLibrary) -> None:
    """As where a store was built anew: the old version of the number may be in memory, for who named it."""
    for number, members in enumerate([["ada/plain"], ["bob/wide"]], start=1):
        published.publish(number, members)
    follower = Follower(published)
    library = follower.look()
    assert library.version(1).pack.experts == ("ada/plain",)
    other = published.store.put_manifest(published.manifest(["eve/late"]))
    point_at(published, 1, other)

    for _ in range(3):
        follower.look()

    assert library.live is not None
    assert (library.live.manifest, library.live.pack.experts) == (other, ("eve/late",))
    assert follower.counted(SWAPS) == 2
    assert library.held == [1]


# ----------------------------------------------------------------------------- documents that cannot be read


@contextmanager
def unreadable(published: PublishedLibrary, document: str) -> Iterator[None]:
    """A folder lies where the document was: whoever reads it is told so, as by a disk or a bucket that refuses."""
    path = Path(published.url) / "libraries" / document
    aside = path.with_suffix(".aside")
    path.rename(aside)
    path.mkdir()
    yield
    path.rmdir()
    aside.rename(path)


@pytest.mark.parametrize("document", ["library.json", "current.json"])
def test_a_document_that_cannot_be_read_holds_up_its_own_library_alone(
    published: PublishedLibrary, document: str, caplog: pytest.LogCaptureFixture
) -> None:
    published.publish(1, ["ada/plain"])
    for name in ("aardvark", "zebra"):
        published.store.set_library(name, LibraryRef(published.base, published.spec.digest))
        published.store.write_version(name, 1, published.manifest(["ada/plain"]))
        published.store.set_current(name, 1)
    follower = Follower(published)
    follower.look()
    live = follower.libraries["aardvark"].live

    with unreadable(published, f"aardvark/{document}"):
        published.publish(2, ["bob/wide"])
        with caplog.at_level(logging.ERROR, logger="workers.serving.library"):
            follower.look()
            follower.look()
        during = {report["library"]: report for report in readiness(follower.libraries)[1]["libraries"]}
        stayed = follower.libraries["aardvark"].live
    follower.look()

    assert follower.served == 2
    assert live is not None
    assert stayed is live
    assert {name: report["ready"] for name, report in during.items()} == dict.fromkeys(during, True)
    assert [name for name, report in during.items() if report["problem"]] == ["aardvark"]
    assert "IsADirectoryError" in during["aardvark"]["problem"]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.partition(" cannot be read")[0] for line in errors] == [
        "library aardvark: what the store says of it"
    ]
    assert follower.libraries["aardvark"].trouble is None


def test_a_version_that_is_refused_is_waited_for_as_before_when_its_documents_can_be_read_again(
    published: PublishedLibrary,
) -> None:
    published.publish(1, ["ada/plain"])
    damage(published, "bob/wide")
    follower = Follower(published, retry_seconds=60.0)
    promote(published, 2, ["bob/wide"])
    follower.look()

    with unreadable(published, "tales/current.json"):
        meanwhile = follower.look().trouble
    after = follower.look().trouble

    assert "IsADirectoryError" in str(meanwhile)
    assert "version 2: ExpertUnavailable" in str(meanwhile)
    assert str(after).startswith("version 2: ExpertUnavailable")
    refused = readiness(follower.libraries)[1]["libraries"][0]["refused"]
    assert (refused["version"], refused["tries"]) == (2, 1)
    assert follower.counted(REFUSED) == 1


@pytest.mark.parametrize("document", ["library.json", "current.json", None])
def test_a_version_that_nobody_asks_for_is_let_go_of_whatever_cannot_be_read(
    published: PublishedLibrary, document: str | None
) -> None:
    for number, members in enumerate([["ada/plain"], ["bob/wide"]], start=1):
        published.publish(number, members)
    follower = Follower(published, Limits(pinned_seconds=0.0))
    library = follower.look()
    library.version(1)
    held = library.held

    if document is None:
        Path(published.url).rename(Path(published.url).with_name("unmounted"))
        with pytest.raises(NoLibraries):
            follower.look()
    else:
        with unreadable(published, f"tales/{document}"):
            follower.look()

    assert (held, library.held) == ([1, 2], [2])


# ----------------------------------------------------------------------------------------------- another base


def test_a_library_that_changes_its_base_answers_by_the_old_one_until_a_version_on_the_new_one_is_proven(
    published: PublishedLibrary, tmp_path: Path
) -> None:
    published.publish(1, ["ada/plain"])
    follower = Follower(published)
    library = follower.look()
    before, old = library.live, library.model
    moved = another_base(published, tmp_path / "moved")

    published.store.set_library("tales", moved)
    unpublished = follower.look().trouble
    stayed = (library.live, library.model)
    named = readiness(follower.libraries)[1]["libraries"][0]["refused"]
    broken = damage(published, "bob/wide")
    point_at(published, 2, published.store.put_manifest(published.manifest(["bob/wide"], base=moved.base)))
    refused = follower.look().trouble
    stayed_still = (library.live, library.model)
    broken()
    follower.look()

    assert stayed == stayed_still == (before, old)
    assert "until a version on the new base is current" in str(unpublished)
    assert named is None  # no version is refused: there is none yet
    assert "version 2: ExpertUnavailable: bob/wide: CorruptObject" in str(refused)
    assert library.live is not None
    assert library.live.model is library.model is not old
    assert library.model is not None
    assert (library.live.number, library.model.base.spec.digest) == (2, moved.base)
    assert follower.counted(REFUSED) == 1


# ------------------------------------------------------------------- experts of versions that are not the live


def test_damaged_experts_of_versions_that_requests_name_are_reported(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(1, ["ada/plain", "bob/wide"])
    published.publish(2, ["ada/plain"])
    follower = Follower(published, Limits(expert_megabytes=64, private_versions=1))
    library = follower.look()
    older = library.version(1)
    assert older.resident is not None
    older.resident.damaged["bob/wide"] = "MissingObject: it is gone"

    trouble = follower.look().trouble

    assert trouble == "version 1: expert bob/wide: MissingObject: it is gone"


def test_damaged_private_experts_are_reported_and_not_named(published: PublishedLibrary) -> None:
    known_hub(published, ["ada/plain"])
    follower = Follower(published, Limits(expert_megabytes=64, private_versions=1))
    library = follower.look()
    assert library.live is not None
    guests = Guests((published.entries["bob/wide"],))
    joined = follower.libraries.joined.version(library.live, guests)
    assert joined.resident is not None
    joined.resident.damaged |= {
        "bob/wide": "MissingObject: it is gone",
        "ada/plain": "MissingObject: so is it",
    }

    trouble = follower.look().trouble

    assert trouble == "expert ada/plain: MissingObject: so is it; 1 private experts cannot be read"


def test_which_version_it_is_and_what_is_wrong_with_it_are_said_together() -> None:
    wrong = ValueError("found 3, expected 4")

    found = problems.problem_of(WISH, Current(7, "m"), wrong, None, retry_seconds=1.0)

    assert found.said == "version 7: ValueError: found 3, expected 4"
