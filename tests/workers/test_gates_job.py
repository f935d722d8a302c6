"""Gates are trained from the contributor's rows after the expert is ready, and come with a new index version."""

import itertools
import json
from functools import partial
from pathlib import Path

import pytest
import torch

from hub.adapters import gates
from hub.adapters.models import Gates, Release
from hub.jobs.models import Job, JobKind
from hub.library import rows as collector
from hub.library import services as libraries
from hub.library.models import Library
from routing.adapter import read_adapter
from routing.base import load_base
from routing.checks.behaviour import adapted
from routing.factors import expert_factors
from routing.gate_files import write_gates
from routing.gates import GateRecipe, TrainedGates, train_gates
from routing.spec import BaseRef
from routing.training import Point
from tests.tiny import tiny_adapter, tiny_llama
from tests.workers.live import LiveHub
from tests.workers.mortal import work_until_killed_at
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload, work_off_everything, work_off_jobs
from workers import gate_sources, places
from workers.indexing import entry

POINTS = ("gates.trained", "gates.stored")  # the loss of work, and the loss of its record
OTHER_POINTS = ("gates.claimed", "gates.recorded")


# Fewer and longer steps than the paper's: these experts differ from the base everywhere.
QUICK = partial(train_gates, recipe=GateRecipe(steps=30, learning_rate=2e-2))


def train_quickly() -> None:
    """For a process that is going to die."""
    gate_sources.train_gates = QUICK  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_sources, "train_gates", QUICK)


_said: dict[int, bytes] = {}  # by the one adapter that is uploaded here, so it is asked once in a process


def gated_library() -> Library:
    library = ready_library()
    Library.objects.filter(pk=library.pk).update(train_gates=True)
    library.refresh_from_db()
    return library


@torch.no_grad()
def what_the_expert_says(folder: Path, *, rows: int) -> bytes:
    """Sample rows on which the adapter must be better than the base: its own words."""
    base = load_base(BaseRef(str(tiny_llama())))
    lines: list[str] = []
    with adapted(base, read_adapter(folder, base.spec)):
        for number in itertools.count():
            if len(lines) == rows:
                break
            prompt = f"{number} boats and {7 * number} gulls"
            ids = torch.tensor([base.tokenizer(prompt).input_ids])
            start = ids.shape[1]
            for _ in range(5):
                ids = torch.cat([ids, base.model(ids).logits[:, -1:].argmax(-1)], dim=1)
            completion = base.tokenizer.decode(ids[0, start:])
            if completion.strip() and "\ufffd" not in completion:
                lines.append(json.dumps({"prompt": prompt, "completion": completion}))
    return "\n".join(lines).encode()


def uploaded(library: Library, folder: Path, *, rows: int = 30) -> Release:
    adapter = tiny_adapter(folder / "a", layers=[1], rank=2)
    said = _said.get(rows) or what_the_expert_says(adapter, rows=rows)
    _said[rows] = said
    return upload(library, adapter, name="a", samples=said)


def gated_modules(library: Library, number: int) -> set[str]:
    """The modules for which the only expert of a version has a gate."""
    store = places.index_store()
    (expert,) = store.read_version(library.slug, number).experts
    return {name for name, vector in store.read_vectors(expert).items() if vector.gate is not None}


def test_gates_follow_in_a_version_of_their_own(either_hub: LiveHub, tmp_path: Path) -> None:
    library = gated_library()
    release = uploaded(library, tmp_path)

    work_off_jobs()

    trained = Gates.objects.get(release=release)
    assert trained.best_step > 0
    assert trained.curve[0][2] > min(point[2] for point in trained.curve)
    newest = max(places.index_store().versions(library.slug))
    release.refresh_from_db()
    assert gated_modules(library, newest) == set(places.index_store().read_factors(entry(release)))
    library.refresh_from_db()
    assert library.current is not None
    assert library.current.number == newest
    assert complaints() == []


def test_nobody_trains_gates_where_the_library_does_not_say_so(hub: LiveHub, tmp_path: Path) -> None:
    library = ready_library()
    release = uploaded(library, tmp_path)
    work_off_jobs()
    assert not Gates.objects.exists()

    libraries.change_gate_training(library=library, wanted=True)
    assert gates.ask_for_all(library) == 1
    work_off_jobs()

    assert release.gates.count() == 1
    assert gates.ask_for_all(library) == 0


def test_few_rows_give_no_gates_and_say_why(hub: LiveHub, tmp_path: Path) -> None:
    library = gated_library()
    release = uploaded(library, tmp_path, rows=5)

    work_off_jobs()

    job = Job.objects.get(kind=JobKind.GATES)
    assert job.state == "done"
    assert "expected at least 8" in job.log
    release.refresh_from_db()
    assert release.status == "ready"


@pytest.mark.long(5)
@pytest.mark.together("mortal")
@pytest.mark.parametrize(
    "point", [*POINTS, *(pytest.param(point, marks=pytest.mark.slow) for point in OTHER_POINTS)]
)
def test_gates_are_recorded_once_wherever_a_worker_dies(hub: LiveHub, tmp_path: Path, point: str) -> None:
    library = gated_library()
    release = uploaded(library, tmp_path)

    work_until_killed_at(point, hub, prepare=f"{__name__}:train_quickly")
    work_off_everything()

    assert release.gates.count() == 1
    assert not Job.objects.exclude(state="done").exists()
    assert complaints() == []


def test_gates_trained_at_home_are_taken_over_where_the_hub_trains_none(hub: LiveHub, tmp_path: Path) -> None:
    library = ready_library()
    folder = tiny_adapter(tmp_path / "a", layers=[1], rank=2)
    spec = places.base_spec(library)
    modules = expert_factors(read_adapter(folder, spec))
    draw = torch.Generator().manual_seed(0)
    brought = {name: torch.randn(module.a.shape[1], generator=draw) for name, module in modules.items()}
    curve = (Point(0, 2.0, 2.0), Point(10, 1.0, 1.5))
    trained = TrainedGates(gates=brought, curve=curve, best_step=10, rows=40, seconds=1.5, peak_bytes=9)
    write_gates(folder, trained, GateRecipe(), spec)
    release = upload(library, folder, name="a")

    work_off_jobs()

    kept = Gates.objects.get(release=release)
    assert (kept.source, kept.standing, kept.rows, kept.best_step) == ("brought", "admitted", 40, 10)
    (expert,) = places.index_store().read_version(library.slug, 2).experts
    stored = places.index_store().read_vectors(expert)
    kept_gates = {name: vector.gate for name, vector in stored.items()}
    torch.testing.assert_close(kept_gates, brought, rtol=0, atol=0)
    assert "gates" not in {finding["check"] for finding in Release.objects.get(pk=release.pk).findings}
    assert complaints() == []


def test_the_collectors_rows_give_gates_beside_the_contributors(hub: LiveHub, tmp_path: Path) -> None:
    library = gated_library()
    libraries.change_gate_sources(library=library, sources=["collector", "samples"])
    release = uploaded(library, tmp_path, rows=12)
    (tmp_path / "rows.jsonl").write_bytes(what_the_expert_says(tmp_path / "a", rows=14))
    given = collector.keep(library=library, file=tmp_path / "rows.jsonl", by=None)

    work_off_jobs()

    ours = {one.source: one for one in release.gates.all()}
    assert set(ours) == {"samples", "collector"}
    assert ours["collector"].rows == 14
    assert ours["collector"].rows_digest == given.sha256
    release = Release.objects.select_related("adapter__library").get(pk=release.pk)
    assert gates.in_use(release) == ours["collector"]
    assert gates.lacking_sources(release) == []
