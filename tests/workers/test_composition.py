"""A requested checkpoint is written, kept as blobs and loads with the tools it is meant for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from pytest_django.plugin import DjangoDbBlocker
from transformers import AutoModelForCausalLM

from hub.indexes import checkpoints, queries
from hub.indexes.models import ComposedCheckpoint
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from routing.checkpoint import load_checkpoint
from tests.tiny import tiny_adapter, tiny_llama
from tests.workers.live import live_hub
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload, user, work_off_jobs
from workers.folders import lay_out

TOKENS = torch.tensor([[5, 9, 12, 40, 7]])


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Iterator[Library]:
    """Two experts in a hub of their own; what is asked for changes none of them."""
    folder = tmp_path_factory.mktemp("hub")
    with django_db_blocker.unblock(), live_hub(folder / "data"):
        found = ready_library()
        for seed, name in enumerate(("a", "b")):
            upload(found, tiny_adapter(folder / name, rank=2, seed=seed), name=name)
        work_off_jobs()
        yield found


def composed(library: Library, kind: str, target: Path, **options: object) -> Path:
    """Requested, worked off, and laid out as a person finds it after the download."""
    newest = queries.published(library).order_by("-number")[0]
    checkpoint = checkpoints.request_checkpoint(
        version=newest, kind=kind, requested_by=user(), options=options
    )
    work_off_jobs()
    ready = ComposedCheckpoint.objects.get(pk=checkpoint.pk)
    assert ready.status == "ready", Job.objects.filter(kind=JobKind.COMPOSE).values_list("error", flat=True)
    lay_out(dict(ready.files.values_list("path", "blob_id")), target)
    return target


def test_routed_loads_with_routing_alone(library: Library, tmp_path: Path) -> None:
    folder = composed(library, "routed", tmp_path / "out")

    assert load_checkpoint(folder).logits(TOKENS[0].tolist()).isfinite().all()


def test_adapter_loads_with_plain_peft(library: Library, tmp_path: Path) -> None:
    folder = composed(library, "adapter", tmp_path / "out", rank=4)

    base = AutoModelForCausalLM.from_pretrained(tiny_llama())
    before = base(TOKENS).logits
    assert not torch.allclose(PeftModel.from_pretrained(base, str(folder))(TOKENS).logits, before)


def test_merged_loads_with_plain_transformers_and_equals_the_adapter(
    library: Library, tmp_path: Path
) -> None:
    adapter = composed(library, "adapter", tmp_path / "adapter", rank=4)
    merged = composed(library, "merged", tmp_path / "merged")

    base = AutoModelForCausalLM.from_pretrained(tiny_llama())
    ours = AutoModelForCausalLM.from_pretrained(merged)(TOKENS).logits
    theirs = PeftModel.from_pretrained(base, str(adapter))(TOKENS).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_merge_is_made_as_it_was_asked_for(library: Library, tmp_path: Path) -> None:
    asked = {"method": "ties", "weights": {"ada/a": 1.0, "ada/b": 0.5}, "density": 0.3, "scale": 2.0}
    folder = composed(library, "adapter", tmp_path / "out", rank=4, **asked)

    assert json.loads((folder / "fletch.json").read_text())["merge"] == asked


def test_some_experts_and_another_router_can_be_chosen_and_progress_is_said(
    library: Library, tmp_path: Path
) -> None:
    composed(
        library, "routed", tmp_path / "out", experts=["ada/a"], policy={"router": "spectral", "top_k": 2}
    )

    model = load_checkpoint(tmp_path / "out")
    job = Job.objects.filter(kind=JobKind.COMPOSE).latest("pk")
    assert model.pack.experts == ("ada/a",)
    assert (model.policy.router, model.policy.top_k, model.policy.temperature) == ("spectral", 2, 1.0)
    assert job.progress_done == job.progress_total > 0
    assert "files written" in job.log
    assert complaints() == []
