"""Experts are introduced to query routers when they are admitted, by sample prompts where the library says so."""

import itertools
import json
from datetime import timedelta
from pathlib import Path

import pytest
import torch
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
from tests.tiny import tiny_adapter, tiny_llama
from tests.workers.live import LiveHub
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload, work_off_jobs
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


@torch.no_grad()
def rows(folder: Path, wording: str, count: int = 10) -> bytes:
    """Sample rows on which the adapter is better than the base: its own words."""
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
