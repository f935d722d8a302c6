"""A library on an encoder-decoder takes the whole way through the workers: a T5 of two layers a side."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from pytest_django.plugin import DjangoDbBlocker

from hub.adapters.models import Gates, Release
from hub.clusters import queries as clusterings
from hub.indexes import checkpoints, queries
from hub.indexes.models import ComposedCheckpoint, IndexVersion, PromptClassifier
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from routing.checkpoint import load_checkpoint
from routing.gates import GateRecipe, train_gates
from routing.prototypes import RoutingVector
from tests.tiny import tiny_adapter, tiny_llama, tiny_model, tiny_t5
from tests.workers.live import live_hub
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload, user, work_off_jobs
from workers import gate_sources, places, plausibility
from workers.folders import lay_out

QUICK = functools.partial(train_gates, recipe=GateRecipe(steps=8, batch=8, check_every=4))
CROSS = ("EncDecAttention.q", "EncDecAttention.k", "EncDecAttention.v")
# By name: which rows come with it. Random weights predict badly, so that almost any expert beats the base.
ROWS = {
    "counting": [{"prompt": f"How many boats are {number}?", "completion": " boats"} for number in range(10)],
    "turning": [{"prompt": f"{number} gulls and waves", "completion": " waves"} for number in range(6)],
    "third": [],
    "fourth": [],
}
PROMPT = torch.tensor([[5, 9, 12, 40, 7]])
SAID = torch.tensor([[0, 11, 3]])
Releases = dict[str, Release]


@pytest.fixture(scope="module")
def grown(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[Library, Releases]]:
    """Four experts, two of them with sample rows, and an adapter of the other family; every job is done."""
    folder = tmp_path_factory.mktemp("t5")
    with (
        django_db_blocker.unblock(),
        live_hub(folder / "data"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(gate_sources, "train_gates", QUICK)
        library = ready_library("t5", tiny_t5())
        Library.objects.update(train_gates=True, embed_samples=True)
        library.refresh_from_db()
        releases = {}
        for seed, (name, rows) in enumerate(ROWS.items()):
            adapter = tiny_adapter(
                folder / name, tiny_t5(), rank=2, seed=seed, scale=0.05, targets=CROSS if seed else None
            )
            samples = "\n".join(map(json.dumps, rows)).encode() if rows else None
            releases[name] = upload(library, adapter, name=name, samples=samples)
        releases["stranger"] = upload(library, tiny_adapter(folder / "causal"), name="stranger")
        work_off_jobs()
        yield library, {name: Release.objects.get(pk=release.pk) for name, release in releases.items()}


def newest(library: Library) -> IndexVersion:
    return queries.published(library).order_by("-number")[0]


def test_every_upload_becomes_an_expert_and_one_of_the_other_family_is_told_why(
    grown: tuple[Library, Releases],
) -> None:
    library, releases = grown

    assert places.base_spec(library).family == "encoder-decoder"
    for name in ROWS:
        assert releases[name].status == "ready", releases[name].findings
        assert releases[name].measurements["neutral_loss_adapted"] > 0
    assert releases["counting"].measurements["sample_rows"] == 10
    (found,) = [one for one in releases["stranger"].findings if one["check"] == "task-type"]
    assert releases["stranger"].status == "rejected"
    assert found["expected"].startswith("SEQ_2_SEQ_LM, since")
    assert Job.objects.exclude(state="done").count() == 0
    assert complaints() == []


def test_a_causal_library_refuses_its_adapters_with_a_finding(
    grown: tuple[Library, Releases], tmp_path: Path
) -> None:
    causal = ready_library("causal", tiny_llama())

    release = upload(causal, tiny_adapter(tmp_path / "a", tiny_t5()), name="a")
    work_off_jobs()

    release.refresh_from_db()
    (found,) = [one for one in release.findings if one["check"] == "task-type"]
    assert release.status == "rejected"
    assert (found["severity"], found["found"]) == ("error", "SEQ_2_SEQ_LM")


def test_its_version_has_gates_a_classifier_and_clusters(grown: tuple[Library, Releases]) -> None:
    library, releases = grown
    gates = Gates.objects.get()
    manifest = places.index_store().read_version(library.slug, newest(library).number)

    gated = [
        expert.adapter
        for expert in manifest.experts
        if any(vector.gate is not None for vector in places.index_store().read_vectors(expert).values())
    ]

    assert (gates.release, gates.rows) == (releases["counting"], 10)
    assert "expected at least 8" in Job.objects.get(kind=JobKind.GATES, log__contains="at least 8").log
    assert gated == ["ada/counting"]
    assert {head.report["classes"] for head in PromptClassifier.objects.all()} == {2}
    assert manifest.classifier in set(PromptClassifier.objects.values_list("digest", flat=True))
    assert len(clusterings.placements(clusterings.clustering(library))) == len(ROWS)


def test_a_vector_that_wins_in_encoder_and_decoder_is_doubted(grown: tuple[Library, Releases]) -> None:
    """The newcomer's own vectors are plausible; long ones along a direction that all text has in common are not."""
    library, releases = grown
    release = releases["fourth"]
    spec = places.base_spec(library)
    there = places.index_store().read_vectors(plausibility.next_members(library)["ada/fourth"])

    loud = {
        module.name: RoutingVector(torch.full((module.d_in,), 100.0), torch.ones(1))
        for module in spec.target_modules
    }

    assert plausibility.doubts(release, there) == []
    assert {finding.check for finding in plausibility.doubts(release, loud)} == {"share"}


def test_it_is_taken_home_in_all_three_ways(grown: tuple[Library, Releases], tmp_path: Path) -> None:
    library, _ = grown
    asked: dict[str, dict[str, Any]] = {"routed": {}, "adapter": {"rank": 64}, "merged": {}}

    for kind, options in asked.items():
        wanted = checkpoints.request_checkpoint(
            version=newest(library), kind=kind, requested_by=user(), options=options
        )
        work_off_jobs()
        ready = ComposedCheckpoint.objects.get(pk=wanted.pk)
        assert ready.status == "ready", Job.objects.filter(kind=JobKind.COMPOSE).values_list("error")
        lay_out(dict(ready.files.values_list("path", "blob_id")), tmp_path / kind)

    routed = load_checkpoint(tmp_path / "routed")
    peft = PeftModel.from_pretrained(tiny_model(tiny_t5()), str(tmp_path / "adapter"))
    merged = tiny_model(tmp_path / "merged")
    assert routed.logits(PROMPT[0].tolist()).isfinite().all()
    theirs = peft.eval()(input_ids=PROMPT, decoder_input_ids=SAID).logits
    ours = merged.eval()(input_ids=PROMPT, decoder_input_ids=SAID).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
