"""Manifests: equal members make equal bytes, and one more expert changes one page."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.digests import digest_of
from routing.errors import BadManifest
from routing.index import (
    LONGEST_PAGE,
    ExpertEntry,
    RoutingPolicy,
    diff,
    join,
    manifest_digest,
    manifest_of,
    pages,
    parse_page,
    parse_root,
    root_bytes,
)

BASE = digest_of(b"base")
NAMES = st.sets(st.from_regex(r"[a-z]{1,4}/[a-z0-9]{1,6}", fullmatch=True), max_size=40)


def entry(name: str, release: int = 1) -> ExpertEntry:
    content = f"{name} {release}".encode()
    return ExpertEntry(
        name, digest_of(content)[:40], digest_of(content + b"v"), digest_of(content + b"f"), 10, 20
    )


def many(count: int) -> list[ExpertEntry]:
    return [entry(f"user{i % 37}/skill{i}") for i in range(count)]


@settings(max_examples=50)
@given(NAMES, st.randoms())
def test_the_order_in_which_experts_came_leaves_no_trace(names: set[str], order: random.Random) -> None:
    entries = [entry(name) for name in sorted(names)]
    shuffled = list(entries)
    order.shuffle(shuffled)

    assert manifest_digest(manifest_of(BASE, shuffled)) == manifest_digest(manifest_of(BASE, entries))


@settings(max_examples=50)
@given(NAMES)
def test_what_was_written_is_read_back(names: set[str]) -> None:
    manifest = manifest_of(BASE, [entry(name) for name in names], policy=RoutingPolicy(top_k=2))

    parts = list(pages(manifest))
    again = join(
        parse_root(root_bytes(manifest, [page.digest for page in parts])),
        [found for page in parts for found in parse_page(page.content)],
    )

    assert again == manifest


@pytest.mark.parametrize("change", ["added", "removed", "replaced"])
def test_a_change_of_one_expert_changes_one_page(change: str) -> None:
    before = many(1000)
    after = {
        "added": [*before, entry("someone/new")],
        "removed": before[:500] + before[501:],
        "replaced": [*before[:500], dataclasses.replace(before[500], release="f" * 40), *before[501:]],
    }[change]

    old = {page.digest for page in pages(manifest_of(BASE, before))}
    new = {page.digest for page in pages(manifest_of(BASE, after))}

    assert len(new - old) <= 2  # two where a page is cut or joined
    assert len(new & old) >= len(old) - 2


def test_no_page_is_longer_than_the_cap_even_if_no_name_ends_one() -> None:
    names = (f"user/{i}" for i in itertools.count())
    stubborn = (entry(name) for name in names if int(digest_of(name.encode())[-8:], 16) % 64)
    manifest = manifest_of(BASE, list(itertools.islice(stubborn, 2 * LONGEST_PAGE + 1)))

    assert [len(page.entries) for page in pages(manifest)] == [LONGEST_PAGE, LONGEST_PAGE, 1]


def test_equal_members_make_equal_bytes_in_another_process_with_another_hash_seed() -> None:
    script = (
        "from tests.routing.test_index import *; print(manifest_digest(manifest_of(BASE, set(many(300)))))"
    )

    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert digests == {manifest_digest(manifest_of(BASE, many(300)))}


def test_a_difference_names_what_was_added_removed_and_replaced() -> None:
    old = manifest_of(BASE, [entry("a/a"), entry("b/b"), entry("c/c")])
    new = manifest_of(BASE, [entry("a/a"), entry("c/c", 2), entry("d/d")])

    found = diff(old, new)

    assert found.added == (entry("d/d"),)
    assert found.removed == (entry("b/b"),)
    assert found.changed == (entry("c/c", 2),)


def test_a_library_without_experts_is_a_manifest_too() -> None:
    empty = manifest_of(BASE, [])

    assert list(pages(empty)) == []
    assert join(parse_root(root_bytes(empty, [])), []) == empty


def test_an_adapter_is_a_member_once() -> None:
    with pytest.raises(BadManifest, match="once"):
        manifest_of(BASE, [entry("a/a"), entry("a/a", 2)])


@pytest.mark.parametrize("content", [b"{}", b"[]", b"no json", b'{"format":2}', b'{"format":1,"base":"x"}'])
def test_a_manifest_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(BadManifest):
        join(parse_root(content), [])


@pytest.mark.parametrize("content", [b"[1]", b'[{"adapter":"a/b"}]', b"{", b"7"])
def test_a_page_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(BadManifest):
        parse_page(content)
