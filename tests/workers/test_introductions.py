"""Experts are introduced to query routers when they are admitted, by sample prompts where the library says so."""

import io
import itertools
import json
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from django.core.management import call_command
from django.http import HttpRequest

from hub.adapters.models import Release
from hub.indexes import api
from hub.indexes import services as indexes
from hub.indexes.models import IndexVersion, PromptClassifier
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.operations import garbage
from routing.adapter import read_adapter
from routing.base import load_base
from routing.checks.behaviour import adapted
from routing.index import IndexManifest
from routing.profiles import Profile
from routing.spec import BaseRef
from tests.tiny import tiny_adapter, tiny_encoder, tiny_llama
from tests.workers.live import LiveHub
from tests.workers.mortal import work_until_killed_at
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload, work_off_everything, work_off_jobs
from workers import classifiers, places

CARD = """---
tags: [boats]
---

# A heading

| a | table |

Counts boats
and gulls.

More of it.
"""
SUBJECTS = {"counting": "How many boats are {}?", "reversing": "{} backwards, gulls and waves please"}


_said: dict[tuple[str, int], bytes] = {}  # by the one adapter that is asked so, hence once in a process


def rows(folder: Path, wording: str, count: int = 10) -> bytes:
    """Sample rows on which the adapter is better than the base: its own words."""
    said = _said.get((wording, count)) or own_words(folder, wording, count)
    _said[wording, count] = said
    return said


@torch.no_grad()
def own_words(folder: Path, wording: str, count: int) -> bytes:
    base = load_base(BaseRef(str(tiny_llama())))
    lines: list[str] = []
    with adapted(base, read_adapter(folder, base.spec)):
        for number in itertools.count():
            if len(lines) == count:
                break
            prompt = wording.format(number)
            ids = torch.tensor([base.tokenizer(prompt).input_ids])
            start = ids.shape[1]
            for _ in range(4):
                ids = torch.cat([ids, base.model(ids).logits[:, -1:].argmax(-1)], dim=1)
            completion = base.tokenizer.decode(ids[0, start:])
            if completion.strip() and "\ufffd" not in completion:
                lines.append(json.dumps({"prompt": prompt, "completion": completion}))
    return "\n".join(lines).encode()


def filled(library: Library, folder: Path) -> list[Release]:
    """Two experts with ten sample prompts each, published."""
    releases = []
    for seed, (name, wording) in enumerate(SUBJECTS.items()):
        adapter = tiny_adapter(folder / name, layers=[seed], rank=2, seed=seed)
        (adapter / "README.md").write_text(CARD)
        releases.append(upload(library, adapter, name=name, samples=rows(adapter, wording)))
    work_off_jobs()
    for release in releases:
        release.refresh_from_db()
    return releases


def newest(library: Library) -> tuple[IndexManifest, list[Profile]]:
    store = places.index_store()
    manifest = store.read_version(library.slug, max(store.versions(library.slug)))
    return manifest, [store.read_profile(str(entry.profile)) for entry in manifest.experts]


def embedding_library() -> Library:
    library = ready_library()
    Library.objects.filter(pk=library.pk).update(embed_samples=True)
    library.refresh_from_db()
    return library


def test_sample_prompts_are_embedded_and_learnt_from_where_the_library_says_so(
    hub: LiveHub, tmp_path: Path
) -> None:
    library = embedding_library()
    filled(library, tmp_path)

    manifest, profiles = newest(library)
    version = IndexVersion.objects.get(library=library, manifest=places.index_store().put_manifest(manifest))
    learnt = PromptClassifier.objects.get(version=version)
    assert [len(profile.prompts) for profile in profiles] == [10, 10]
    assert manifest.classifier == learnt.digest
    assert (learnt.report["classes"], learnt.report["accuracy"]) == (2, 1.0)
    assert learnt.reliability is not None
    assert set(learnt.reliability) == {"ada/counting", "ada/reversing"}
    for bins in learnt.reliability.values():
        assert sum(one["rows"] for one in bins) == learnt.report["held_out"]
        assert sum(one["own"] for one in bins) == 2  # a fifth of its ten
    assert "reliability" not in learnt.report
    head = places.index_store().read_classifier(learnt.digest)
    assert head.experts == ("ada/counting", "ada/reversing")
    assert list(garbage._unnamed_objects(timedelta())) == []
    assert complaints() == []
    said = api.version(HttpRequest(), library.slug, version.number).classifier
    assert said == {"digest": learnt.digest, **learnt.report}


def test_without_that_only_the_card_is_embedded(hub: LiveHub, tmp_path: Path) -> None:
    library = ready_library()
    filled(library, tmp_path)

    manifest, profiles = newest(library)

    assert manifest.classifier is None
    assert [len(profile.prompts) for profile in profiles] == [0, 0]
    assert profiles[0].description == "counting: Counts boats and gulls. boats"
    assert not PromptClassifier.objects.exists()


def test_what_is_recorded_first_is_what_the_version_names(hub: LiveHub, tmp_path: Path) -> None:
    library = embedding_library()
    filled(library, tmp_path)
    version = IndexVersion.objects.filter(library=library).latest("number")
    jobs.enqueue(JobKind.INDEX, library_id=library.pk)
    job = Job.objects.get(kind=JobKind.INDEX, state="queued")
    claim = jobs.claim(queues=[job.queue], job_id=job.pk)
    assert claim is not None

    again = indexes.record_classifier(claim, version.pk, digest="f" * 64, size=1, report={})

    assert again.digest != "f" * 64
    assert classifiers.trained(claim, version) == again.digest


@pytest.mark.parametrize("few", [1])
def test_too_few_prompts_give_a_version_without_a_classifier(hub: LiveHub, tmp_path: Path, few: int) -> None:
    library = embedding_library()
    adapter = tiny_adapter(tmp_path / "a", layers=[0], rank=2)
    upload(library, adapter, name="a", samples=rows(adapter, "How many boats are {}?", few))
    work_off_jobs()

    manifest, profiles = newest(library)

    assert manifest.classifier is None
    assert len(profiles[0].prompts) == few
    assert "no classifier of prompts" in Job.objects.filter(kind=JobKind.INDEX).latest("pk").log


def test_who_became_ready_before_there_were_introductions_gets_one_by_a_command(
    hub: LiveHub, tmp_path: Path
) -> None:
    library = embedding_library()
    first, second = filled(library, tmp_path)
    before = newest(library)
    for release in (first, second):
        Release.objects.filter(pk=release.pk).update(profile_digest="", profile_size=0, profile_encoder="")
    jobs.enqueue(JobKind.INDEX, library_id=library.pk)
    work_off_jobs()
    bare = places.index_store().read_version(library.slug, max(places.index_store().versions(library.slug)))

    for _ in range(2):
        call_command("introduce", library.slug, stdout=io.StringIO())
        work_off_jobs()

    manifest, profiles = newest(library)
    assert [entry.profile for entry in bare.experts] == [None, None]
    assert bare.classifier is None
    assert [entry.profile for entry in manifest.experts] == [entry.profile for entry in before[0].experts]
    assert manifest.classifier == before[0].classifier
    assert [len(profile.prompts) for profile in profiles] == [10, 10]
    assert IndexVersion.objects.filter(library=library).count() == 3  # with, without, with again
    assert complaints() == []


def test_a_librarys_own_encoder_reads_prompts_once_everybody_is_introduced_by_it(
    hub: LiveHub, tmp_path: Path
) -> None:
    library = embedding_library()
    filled(library, tmp_path)

    call_command("introduce", library.slug, "--encoder", str(tiny_encoder()), stdout=io.StringIO())
    work_off_jobs()

    manifest, profiles = newest(library)
    assert manifest.encoder is not None
    assert manifest.encoder.source == str(tiny_encoder())
    assert {profile.encoder for profile in profiles} == {manifest.encoder.name}
    assert [tuple(profile.prompts.shape) for profile in profiles] == [(10, 24), (10, 24)]
    head = places.index_store().read_classifier(str(manifest.classifier))
    assert head.encoder == manifest.encoder.name
    late = tiny_adapter(tmp_path / "late", layers=[1], targets=["o_proj"], rank=2, seed=9)
    upload(library, late, name="late")
    work_off_jobs()
    assert {profile.encoder for profile in newest(library)[1]} == {manifest.encoder.name}
    store = places.index_store()
    garbage_now = {found.sha256 for found in garbage._unnamed_objects(timedelta())}
    for number in store.versions(library.slug):
        assert garbage_now.isdisjoint(store.reachable(store.version_digest(library.slug, number)))
    assert complaints() == []


def test_an_encoder_that_cannot_be_loaded_is_said_and_nothing_changes(hub: LiveHub, tmp_path: Path) -> None:
    library = ready_library()
    release = upload(library, tiny_adapter(tmp_path / "a", layers=[0], rank=2), name="a")
    work_off_jobs()
    (tmp_path / "empty").mkdir()

    call_command("introduce", library.slug, "--encoder", str(tmp_path / "empty"), stdout=io.StringIO())
    work_off_jobs()

    job = Job.objects.get(kind=JobKind.INTRODUCE)
    assert job.state == "failed"
    assert str(tmp_path / "empty") in job.error
    library.refresh_from_db()
    assert (library.encoder, library.encoder_settled) == (None, False)
    assert places.index_store().versions(library.slug) == [0, 1]
    release.refresh_from_db()
    assert release.profile_encoder.startswith("base:")


@pytest.mark.long(5)
@pytest.mark.together("mortal")
def test_a_worker_that_dies_while_introducing_is_followed_by_one_that_goes_on(
    hub: LiveHub, tmp_path: Path
) -> None:
    library = ready_library()
    for seed, name in enumerate(SUBJECTS):
        upload(library, tiny_adapter(tmp_path / name, layers=[seed], rank=2, seed=seed), name=name)
    work_off_jobs()
    call_command("introduce", library.slug, "--encoder", str(tiny_encoder()), stdout=io.StringIO())

    work_until_killed_at("introduce.recorded", hub)
    work_off_everything()

    manifest, profiles = newest(library)
    assert manifest.encoder is not None
    assert {profile.encoder for profile in profiles} == {manifest.encoder.name}
    assert "introduced 0 releases" in Job.objects.get(kind=JobKind.INTRODUCE).log
    assert complaints() == []
