"""A library's own sentence encoder reads prompts in the serving process, or the version is not served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from routing.encoding import encoder_ref, load_encoder
from routing.index import IndexManifest
from routing.neutral import neutral_tokens
from routing.retrieval import profile_of
from routing.spec import BaseRef
from tests.routing.libraries import TEXT, SmallLibrary
from tests.routing.published import PublishedLibrary
from tests.serving.live import live_server
from tests.tiny import tiny_encoder


def introduced(published: PublishedLibrary, library: SmallLibrary) -> IndexManifest:
    """One expert is introduced by a prompt that a sentence encoder read."""
    base, folder = library.base(), tiny_encoder()
    profile = profile_of(base, load_encoder(folder, base), adapter="bob/wide", prompts=[TEXT])
    digest, size = published.store.put_profile(profile)
    published.entries["bob/wide"] = replace(published.entries["bob/wide"], profile=digest, profile_size=size)
    neutral = published.store.put_neutral(neutral_tokens(base, sequences=8, length=12))
    named = encoder_ref(BaseRef(str(folder)), base)
    return replace(published.manifest(), calibration=neutral, encoder=named)


def test_prompts_are_read_by_the_encoder_that_the_version_names(
    published: PublishedLibrary, small_library: SmallLibrary
) -> None:
    manifest = introduced(published, small_library)
    assert manifest.encoder is not None
    published.store.write_version("tales", 1, manifest)
    published.store.set_current("tales", 1)
    routing = {"router": "retrieval", "top_k": 1, "trace": True}
    body = {"model": "tales", "prompt": TEXT, "max_tokens": 2, "routing": routing}
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        version = live.server.libraries["tales"].live
        assert version is not None
        assert version.encoder is not None
        assert version.encoder.name == manifest.encoder.name
        answer = live.post("/v1/completions", **body).json()["fletch"]["experts"]

    assert [one["adapter"] for one in answer] == ["bob/wide"]


def test_a_version_whose_encoder_is_not_here_is_refused_and_the_served_one_stays(
    published: PublishedLibrary, small_library: SmallLibrary, tmp_path: Path
) -> None:
    manifest = introduced(published, small_library)
    assert manifest.encoder is not None
    published.publish(1)
    gone = replace(manifest, encoder=replace(manifest.encoder, source=str(tmp_path / "gone")))
    other = replace(manifest, encoder=replace(manifest.encoder, source=str(tiny_encoder(seed=1))))
    published.store.write_version("tales", 2, gone)
    published.store.write_version("tales", 3, other)
    said = []
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        for number, word in ((2, "UnsupportedEncoder"), (3, "WrongEncoder")):
            published.store.set_current("tales", number)
            live.wait_until(lambda word=word: word in str(live.get("/readyz").json()["missing"]))
            said.append(live.get("/readyz").json()["libraries"][0])
        answer = live.post("/v1/completions", model="tales", prompt=TEXT, max_tokens=2)

    assert [one["version"] for one in said] == [1, 1]
    assert str(tmp_path / "gone") in said[0]["problem"]
    assert manifest.encoder.name in said[1]["problem"]
    assert answer.json()["fletch"]["version"] == 1
