"""The way of an upload through the workers: inspected base, findings, vectors, index version, what is served."""

import json
from pathlib import Path
from typing import Any

import pytest

from hub.adapters.models import Adapter, Release
from hub.indexes import services as indexes
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library import services as libraries
from hub.library.models import Library
from routing.base import load_base
from routing.spec import BaseRef
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_ia3, tiny_llama
from tests.workers.uploading import found_library, ready_library, upload, user, work_off, work_off_jobs
from workers import places, vectors

pytestmark = pytest.mark.usefixtures("hub")


def fresh(release: Release) -> Release:
    return Release.objects.get(pk=release.pk)


def served(library: Library) -> int:
    current = places.index_store().current(library.slug)
    assert current is not None
    return current.number


def what_the_base_says(prompt: str) -> str:
    """Its own greedy answer: hard to beat."""
    base = load_base(BaseRef(str(tiny_llama())))
    ids = base.tokenizer(prompt, return_tensors="pt")
    answer = base.model.generate(**ids, max_new_tokens=16, do_sample=False)
    return str(base.tokenizer.decode(answer[0, ids.input_ids.shape[1] :]))


def errors(release: Release) -> list[str]:
    return [finding["check"] for finding in fresh(release).findings if finding["severity"] == "error"]


def test_a_new_library_knows_its_base_and_is_served_at_once() -> None:
    library = ready_library()

    assert library.status == "ready"
    assert library.base_spec is not None
    assert places.base_spec(library).digest == library.base_digest
    assert served(library) == 0
    assert places.index_store().read_version(library.slug, 0).experts == ()
    ref = places.index_store().library_ref(library.slug)
    assert ref is not None
    assert ref.source.source == str(tiny_llama())


def test_a_base_that_is_not_there_fails_with_a_sentence_and_can_be_tried_again(tmp_path: Path) -> None:
    library = found_library(base=tmp_path / "nowhere")
    work_off_jobs()

    library.refresh_from_db()
    job = Job.objects.get(kind=JobKind.INSPECT_BASE)
    assert (library.status, job.state, job.attempt) == ("failed", "failed", 1)
    assert "nowhere" in job.error


def test_a_good_upload_becomes_ready_indexed_and_served(tmp_path: Path) -> None:
    library = ready_library()
    release = upload(library, tiny_adapter(tmp_path / "poetry"), name="poetry")

    work_off_jobs()

    settled = fresh(release)
    assert (settled.status, errors(release)) == ("ready", [])
    assert settled.measurements["neutral_loss_adapted"] > 0
    assert len(settled.statistics["modules"]) == 14
    assert served(library) == 1
    (expert,) = places.index_store().read_version(library.slug, 1).experts
    assert (expert.adapter, expert.release) == ("ada/poetry", release.oid)
    library.refresh_from_db()
    assert library.current is not None
    assert library.current.number == 1
    assert set(Job.objects.values_list("state", flat=True)) == {"done"}


def test_a_gpt2_library_works_the_same_way(tmp_path: Path) -> None:
    library = ready_library("gpt", tiny_gpt2())
    release = upload(library, tiny_adapter(tmp_path / "a", tiny_gpt2()), name="a")

    work_off_jobs()

    assert fresh(release).status == "ready"


def test_every_kind_of_expert_becomes_ready_and_says_what_it_is(tmp_path: Path) -> None:
    library = ready_library()
    uploads = {
        "LoRA": upload(library, tiny_adapter(tmp_path / "lora", scale=0.02, seed=1), name="lora"),
        "DoRA": upload(library, tiny_adapter(tmp_path / "dora", scale=0.02, dora=True, seed=2), name="dora"),
        "(IA)^3": upload(library, tiny_ia3(tmp_path / "ia3", scale=0.02, seed=3), name="ia3"),
    }

    work_off_jobs()

    for kind, release in uploads.items():
        settled = fresh(release)
        assert (settled.status, errors(release)) == ("ready", [])
        assert settled.statistics["summary"]["expert_kind"] == kind
        assert 0 < settled.statistics["least_kept"] <= 1
    experts = places.index_store().read_version(library.slug, served(library)).experts
    assert {expert.adapter for expert in experts} == {"ada/lora", "ada/dora", "ada/ia3"}


def test_a_copy_of_a_dora_is_found(tmp_path: Path) -> None:
    library = ready_library()
    upload(library, tiny_adapter(tmp_path / "dora", scale=0.02, dora=True), name="first")
    again = upload(library, tiny_adapter(tmp_path / "again", scale=0.02, dora=True), name="b", owner="bob")

    work_off_jobs()

    assert (fresh(again).status, errors(again)) == ("rejected", ["copy"])


def test_an_adapter_of_another_base_is_rejected_with_findings(tmp_path: Path) -> None:
    library = ready_library()
    release = upload(library, tiny_adapter(tmp_path / "a", tiny_gpt2()), name="a")

    work_off_jobs()

    assert fresh(release).status == "rejected"
    assert errors(release)
    assert served(library) == 0


def test_samples_on_which_the_adapter_is_no_better_than_the_base_reject_it(tmp_path: Path) -> None:
    library = ready_library()
    rows = [{"prompt": "The ferry", "completion": what_the_base_says("The ferry")}] * 3
    samples = "\n".join(json.dumps(row) for row in rows).encode()
    release = upload(library, tiny_adapter(tmp_path / "a", scale=0.4), name="a", samples=samples)

    work_off_jobs()

    assert "samples" in errors(release)
    assert fresh(release).measurements["sample_rows"] == 3


def test_a_copy_under_another_name_is_rejected_also_when_both_came_at_once(tmp_path: Path) -> None:
    library = ready_library()
    folder = tiny_adapter(tmp_path / "a")
    first = upload(library, folder, name="original")
    second = upload(library, folder, name="copy", owner="bob")

    work_off_jobs()

    assert (fresh(first).status, fresh(second).status) == ("ready", "rejected")
    assert errors(second) == ["copy"]


def test_nobody_learns_of_a_private_adapter_by_uploading_something_like_it(tmp_path: Path) -> None:
    library = ready_library()
    folder = tiny_adapter(tmp_path / "a")
    secret = upload(library, folder, name="secret")
    Adapter.objects.update(private=True)
    public = upload(library, folder, name="public", owner="bob")

    work_off_jobs()

    assert (fresh(secret).status, fresh(public).status) == ("ready", "ready")
    assert "secret" not in json.dumps(fresh(public).findings)


def test_a_copy_that_slipped_through_validation_is_found_before_it_becomes_an_expert(tmp_path: Path) -> None:
    library = ready_library()
    folder = tiny_adapter(tmp_path / "a")
    first = upload(library, folder, name="original")
    second = upload(library, folder, name="copy", owner="bob")
    for job in Job.objects.filter(kind=JobKind.VALIDATE).order_by("pk"):
        work_off(job)

    assert fresh(second).status == "validated"
    work_off_jobs()

    assert (fresh(first).status, fresh(second).status) == ("ready", "rejected")


def test_of_two_copies_admitted_in_the_same_moment_one_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first becomes ready after the second was compared with everybody, and before it is recorded."""
    library = ready_library()
    folder = tiny_adapter(tmp_path / "a")
    first = upload(library, folder, name="original")
    second = upload(library, folder, name="copy", owner="bob")
    for job in Job.objects.filter(kind=JobKind.VALIDATE).order_by("pk"):
        work_off(job)
    elder, younger = Job.objects.filter(kind=JobKind.VECTORS).order_by("pk")
    record = vectors.record

    def overtaken(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(vectors, "record", record)
        work_off(elder)
        record(*args, **options)

    monkeypatch.setattr(vectors, "record", overtaken)
    work_off(younger)
    work_off_jobs()

    assert (fresh(first).status, fresh(second).status) == ("ready", "rejected")
    assert errors(second) == ["copy"]


def test_two_releases_of_one_adapter_may_be_alike(tmp_path: Path) -> None:
    library = ready_library()
    folder = tiny_adapter(tmp_path / "a")
    upload(library, folder, name="a")
    work_off_jobs()
    (folder / "README.md").write_text("# Now with a card\n")
    second = upload(library, folder, name="a")

    work_off_jobs()

    assert fresh(second).status == "ready"
    (expert,) = places.index_store().read_version(library.slug, 2).experts
    assert expert.release == second.oid


def test_doing_every_job_a_second_time_changes_nothing(tmp_path: Path) -> None:
    library = ready_library()
    release = upload(library, tiny_adapter(tmp_path / "a"), name="a")
    work_off_jobs()
    before = (fresh(release).settled_at, places.index_store().versions(library.slug))

    jobs.enqueue(JobKind.VALIDATE, release_id=release.pk)
    jobs.enqueue(JobKind.VECTORS, release_id=release.pk)
    jobs.enqueue(JobKind.INDEX, library_id=library.pk)
    jobs.enqueue(JobKind.INSPECT_BASE, library_id=library.pk)
    jobs.enqueue(JobKind.PROMOTE, library_id=library.pk)
    work_off_jobs()

    assert (fresh(release).settled_at, places.index_store().versions(library.slug)) == before
    assert served(library) == 1
    assert not Job.objects.exclude(state="done").exists()


def test_rolling_back_serves_the_older_version(tmp_path: Path) -> None:
    library = ready_library()
    for name, seed in (("a", 1), ("b", 2)):
        upload(library, tiny_adapter(tmp_path / name, seed=seed), name=name)
        work_off_jobs()
    assert served(library) == 2

    indexes.roll_back(library=library, by=user(), reason="b is not what it said")
    work_off_jobs()

    assert served(library) == 1


def test_a_new_policy_makes_a_version_with_the_same_experts(tmp_path: Path) -> None:
    library = ready_library()
    upload(library, tiny_adapter(tmp_path / "a"), name="a")
    work_off_jobs()

    libraries.change_policy(library=library, policy={"top_k": 2})
    work_off_jobs()

    assert served(library) == 2
    assert places.index_store().read_version(library.slug, 2).policy.top_k == 2
