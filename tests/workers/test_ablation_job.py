"""ABLATE on real small experts: what is recorded, what ends it, and that it goes on after a worker died."""

import json
from pathlib import Path

import pytest
import torch
from pytest_django import Settings

from hub.ablations import queries, services
from hub.ablations.models import Ablation
from hub.indexes.models import IndexVersion
from hub.jobs.models import Job, JobKind
from routing.composed import compose_version
from tests.tiny import tiny_adapter
from tests.workers.live import LiveHub
from tests.workers.mortal import work_until_killed_at
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload, user, work_off_everything, work_off_jobs
from workers import ablating
from workers.places import index_store, loaded_base

TEXTS = [(f"{one} gulls", " boats") for one in range(12)]


def lines(texts: list[tuple[str, str]]) -> bytes:
    rows = ({"prompt": prompt, "completion": completion} for prompt, completion in texts)
    return "\n".join(json.dumps(row) for row in rows).encode()


WRONG = [
    (lines(TEXTS[:4] * 9), "found 4 different ones, expected at least 10"),
    (lines(TEXTS) + b'\n{"prompt": 3}\nnonsense', "line 13: found"),
    (lines([*TEXTS, ("gulls " * 400, " boats")]), "tokens, expected at most 256"),
]


def grown(folder: Path) -> IndexVersion:
    """Two experts, of which everybody is sometimes heard."""
    library = ready_library()
    for name in "ab":
        adapter = tiny_adapter(folder / name, seed=ord(name), rank=2, layers=[1], targets=["q_proj"])
        upload(library, adapter, name=name, owner=f"user-{name}")
    work_off_jobs()
    library.refresh_from_db()
    assert library.current is not None
    return library.current


def asked(version: IndexVersion, folder: Path, content: bytes) -> Ablation:
    file = folder / "given.jsonl"
    file.write_bytes(content)
    return services.request(version=version, file=file, name="Gulls", by=user("maria"))


@pytest.mark.long(5)
@pytest.mark.together("mortal")
def test_each_expert_is_left_out_whatever_ends_the_work_before(
    hub: LiveHub, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hub for all of it: experts that are ready take the longest."""
    version = grown(tmp_path)
    found = asked(version, tmp_path, lines([*TEXTS, TEXTS[0]]))

    work_off_jobs()

    found.refresh_from_db()
    assert (found.state, found.note, found.rows) == ("done", "", 12)
    assert found.score == pytest.approx(score_by_hand(version), abs=1e-4)
    rows = list(found.contributions.all())
    assert {row.release.adapter.full_name for row in rows} == {"user-a/a", "user-b/b"}
    assert all(row.low <= row.gain <= row.high for row in rows)
    assert all((row.heard == 0) <= (row.gain == 0.0) for row in rows)
    for content, complaint in WRONG:
        refused = asked(version, tmp_path, content)
        work_off_jobs()
        refused.refresh_from_db()
        assert refused.state == "refused"
        assert complaint in refused.note
    ends_early_and_goes_on(version, tmp_path, settings, monkeypatch)
    survives_a_killed_worker(hub, version, tmp_path)
    assert set(Job.objects.filter(kind=JobKind.ABLATE).values_list("state", flat=True)) == {"done"}
    assert complaints() == []


def score_by_hand(version: IndexVersion) -> float:
    """Row by row, by the composed model's own way from a prompt to logits."""
    base = loaded_base(version.library)
    model = compose_version(index_store(), index_store().read_manifest(version.manifest), base)
    said, tokens = 0.0, 0
    for text, completion in TEXTS:
        answer = base.family.completion(base.tokenizer, completion)
        logits = model.completion_logits(base.tokenizer(text).input_ids, answer).log_softmax(-1)
        said += float(logits.gather(1, torch.tensor(answer)[:, None]).sum())
        tokens += len(answer)
    return said / tokens


def ends_early_and_goes_on(
    version: IndexVersion, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the operator's limits, and when somebody cancels it after a pass; asked again it goes on."""

    def again() -> Ablation:
        services.repeat(ablation=queries.ablation(found.pk), version=version, by=user("maria"))
        work_off_jobs()
        found.refresh_from_db()
        return found

    settings.ABLATION_TOKENS = 5
    found = asked(version, folder, lines(TEXTS[1:]))
    work_off_jobs()
    found.refresh_from_db()
    assert (found.state, found.score) == ("refused", None)
    assert "read at least three times" in found.note
    settings.ABLATION_TOKENS, settings.ABLATION_SECONDS = 1_000_000, 0
    assert again().state == "stopped"
    assert "2 of 2 experts are left" in found.note
    settings.ABLATION_SECONDS = 600
    with monkeypatch.context() as patched:
        patched.setattr(ablating, "SECONDS_BETWEEN_LOOKS", 0.0)
        patched.setattr(
            ablating, "_check_budget", lambda _: services.cancel(ablation=found, by=user("maria"))
        )
        assert (again().state, found.score) == ("cancelled", None)
    assert (again().state, found.contributions.count()) == ("done", 2)


def survives_a_killed_worker(hub: LiveHub, version: IndexVersion, folder: Path) -> None:
    """What it measured is not measured again."""
    found = asked(version, folder, lines(TEXTS[2:]))
    work_until_killed_at("ablation.expert_recorded", hub)
    (first,) = found.contributions.all()
    work_off_everything()
    found.refresh_from_db()
    assert (found.state, found.contributions.count()) == ("done", 2)
    assert found.contributions.get(pk=first.pk).at == first.at
