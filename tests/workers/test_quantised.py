"""A checkpoint in fewer bits, from the wish to the file that other software loads."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from hub.indexes import checkpoints, parts, queries
from hub.indexes.models import CheckpointFile, ComposedCheckpoint
from hub.jobs.models import Job, JobKind
from tests.tiny import tiny_adapter
from tests.workers.uploading import ready_library, upload, user, work_off_jobs
from workers.folders import lay_out

pytestmark = pytest.mark.usefixtures("hub")


def test_merged_weights_in_fewer_bits_are_written_and_about_as_large_as_was_estimated(tmp_path: Path) -> None:
    library = ready_library()
    upload(library, tiny_adapter(tmp_path / "a", rank=2), name="a")
    work_off_jobs()
    newest = queries.published(library).order_by("-number")[0]

    sizes, estimates, rounding, said = {}, {}, {}, {}
    for bits in (None, 8, 4):
        asked = checkpoints.request_checkpoint(
            version=newest, kind="merged", requested_by=user(), options={"bits": bits} if bits else {}
        )
        work_off_jobs()
        ready = ComposedCheckpoint.objects.get(pk=asked.pk)
        assert ready.status == "ready", Job.objects.filter(kind=JobKind.COMPOSE).values_list("error")
        lay_out(dict(ready.files.values_list("path", "blob_id")), tmp_path / str(bits))
        weights = CheckpointFile.objects.get(checkpoint=ready, path="model.safetensors")
        sizes[bits] = weights.blob.size
        rounding[bits] = ready.rounding
        said[bits] = json.loads((tmp_path / str(bits) / "fletch.json").read_text()).get("quantised")
        estimates[bits] = parts.size(newest, "merged", parts.parts(newest), rank=1, bits=bits).most

    logits = AutoModelForCausalLM.from_pretrained(tmp_path / "4")(torch.tensor([[5, 9, 12]])).logits
    assert torch.isfinite(logits).all()
    assert rounding == said
    assert rounding[None] is None
    for bits in (8, 4):
        assert rounding[bits]["difference"]["tokens"]
        assert sizes[None] - sizes[bits] == pytest.approx(estimates[None] - estimates[bits], rel=0.1)
