"""The bench of swaps: the versions that it makes, and what it makes of a stream that ends too soon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import torch

from bench import swap
from routing.pack import Pack
from routing.packing import load_pack
from routing.store import open_store

LINES = 'data: {"choices": [{"text": " w1"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("kinds", "experts", "shares"),
    [
        (["one", "one"], [21, 22], [True, True]),
        (["add", "one"], [24, 25], [False, True]),
        (["leave", "add"], [13, 16], [False, False]),
    ],
)
def test_experts_share_their_rows_unless_many_come_or_leave(
    kinds: list[str], experts: list[int], shares: list[bool], tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    asked = ["--size", "tiny", "--experts", "20"]
    library = swap._Growing(store, tmp_path, swap._arguments().parse_args(asked))
    packs: list[Pack] = []
    for kind in [None, *kinds]:
        if kind is not None:
            library.change(kind)
        library.write()
        manifest = store.read_version(swap.LIBRARY, library.promote())
        before = packs[-1] if packs else None
        packs.append(
            load_pack(
                store,
                manifest,
                library.spec,
                device=torch.device("cpu"),
                dtype=torch.float32,
                previous=before,
            )
        )

    assert [len(pack.experts) for pack in packs] == [20, *experts]
    for before, after, shared in zip(packs, packs[1:], shares, strict=False):
        assert {module.growing is before.modules[name].growing for name, module in after.modules.items()} == {
            shared
        }


def test_a_stream_that_ends_before_its_round_counts_as_failed() -> None:
    stream = swap.Stream()
    answering = httpx.MockTransport(lambda _: httpx.Response(200, text=LINES))

    async def follow() -> None:
        async with httpx.AsyncClient(base_url="http://served", transport=answering) as http:
            await swap._follow(http, stream, seed=0)

    asyncio.run(follow())

    assert len(stream.times) == 1
    assert stream.failure == swap.ENDED
