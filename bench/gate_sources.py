"""`python -m bench.gate_sources`: whose rows should an expert's gates learn from?

The demonstration's adapters, each recognised by its prototype, or by gates trained on its contributor's forty
sample rows (PHATGOOSE), on the collector's pooled rows (each expert's gate apart, nobody says which row is
whose), or on the same rows with all experts competing. The collector's rows are questions that no adapter was
trained on, and plain text; the questions that are asked are others again. Trained gates are kept in
build/gates, so that asking again is quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.report import save, show
from demo.corpus import neutral_documents
from demo.tasks import BASE, TASKS, Row
from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.calibration import calibrated_pack
from routing.checks.samples import Sample, parse_samples
from routing.competition import compete
from routing.factors import Factors, expert_factors
from routing.gates import GateRecipe, train_gates
from routing.neutral import neutral_tokens
from routing.pack import ModulePack, Pack
from routing.packing import pack_experts
from routing.routed import RoutedModel
from routing.rows import Row as TokenRow
from routing.rows import encoded_rows
from routing.scores import evidence
from routing.spec import BaseRef
from routing.surveys import survey

KEPT = Path("build/gates")
COLLECTED, ASKED = 24, 12  # of each task
DOCUMENTS = 64

Experts = Mapping[str, Mapping[str, Factors]]
Gates = dict[str, dict[str, Tensor]]


def collectors_rows(base: Base) -> list[TokenRow]:
    """Every other test question of every task, and the beginnings of documents of no task."""
    samples = [
        Sample(row.prompt, row.completion) for task in TASKS for row in task.test_rows[0::2][:COLLECTED]
    ]
    for document in neutral_documents(seed=77, count=DOCUMENTS):
        words = document.split(" ")
        half = max(1, min(len(words) // 2, 12))
        samples.append(Sample(" ".join(words[:half]), " " + " ".join(words[half : half + 16])))
    return [row for row in encoded_rows(base, samples) if row[0] and row[1]]


def asked_rows() -> dict[str, Sequence[Row]]:
    """By adapter: the other half of its test questions, which nothing was trained on."""
    return {task.adapter: task.test_rows[1::2][:ASKED] for task in TASKS}


def own_gates(base: Base, experts: Experts) -> Gates:
    """As PHATGOOSE does: each on its contributor's rows."""
    rows = {
        task.adapter: encoded_rows(base, parse_samples(task.samples_path.read_bytes())[0]) for task in TASKS
    }
    return {name: dict(train_gates(base, expert, rows[name]).gates) for name, expert in experts.items()}


def collector_gates(base: Base, experts: Experts) -> Gates:
    """Each apart, all on the same rows."""
    rows = collectors_rows(base)
    return {name: dict(train_gates(base, expert, rows).gates) for name, expert in experts.items()}


def competing_gates(base: Base, experts: Experts) -> Gates:
    """All at once."""
    pack = pack_experts(experts, base.spec, device=base.device, dtype=base.dtype)
    return compete(base, pack, collectors_rows(base))[0]


def faster_competition(base: Base, experts: Experts) -> Gates:
    """The same, with six times the learning rate: these scores are divided by sqrt(d)."""
    pack = pack_experts(experts, base.spec, device=base.device, dtype=base.dtype)
    return compete(base, pack, collectors_rows(base), recipe=GateRecipe(learning_rate=3e-2))[0]


SOURCES: Mapping[str, Callable[[Base, Experts], Gates]] = {
    "own": own_gates,
    "collector": collector_gates,
    "compete": competing_gates,
    "compete3": faster_competition,
}
CALLED = {
    "prototypes": "prototypes alone (Arrow)",
    "own": "gates on own rows (PHATGOOSE)",
    "collector": "gates on the collector's rows, apart",
    "compete": "gates on the collector's rows, competing",
    "compete3": "the same, learning rate 3e-2",
}


def kept(source: str, train: Callable[[], Gates]) -> tuple[Gates, float | None]:
    """Gates of this source, and the seconds they cost if they were trained now."""
    folder = KEPT / source
    if folder.is_dir():
        return {path.stem.replace("--", "/"): load_file(path) for path in sorted(folder.iterdir())}, None
    began = time.monotonic()
    gates = train()
    seconds = time.monotonic() - began
    folder.mkdir(parents=True)
    for name, modules in gates.items():
        tensors = {module: gate.contiguous() for module, gate in modules.items()}
        save_file(tensors, folder / f"{name.replace('/', '--')}.safetensors")
    return gates, seconds


class Tally:
    """How often the right expert won with one kind of recognition: whole prompts, and tokens at its modules."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.prompts = self.tokens = self.right_prompts = self.right_tokens = 0

    def begin(self, adapter: str) -> None:
        self.place = self.pack.places[adapter]
        self.total = torch.zeros(len(self.pack.experts))
        self.modules = torch.zeros(len(self.pack.experts))

    def look(self, name: str, hidden: Tensor) -> None:
        module = self.pack.modules[name]
        scores = evidence(hidden, module)
        self.total[module.member_ids] += scores.mean(0)
        self.modules[module.member_ids] += 1
        if self.place in module.rows_by_member:
            winners = module.member_ids[scores.argmax(-1)]
            self.right_tokens += int((winners == self.place).sum())
            self.tokens += len(hidden)

    def end(self) -> None:
        self.right_prompts += int((self.total / self.modules).argmax()) == self.place
        self.prompts += 1


def tallied(base: Base, routed: RoutedModel, packs: Mapping[str, Pack]) -> dict[str, Tally]:
    """Every question is read once by the plain base, and judged in all ways."""
    tallies = {source: Tally(pack) for source, pack in packs.items()}

    def look(name: str, hidden: Tensor, _module: ModulePack) -> None:
        for tally in tallies.values():
            tally.look(name, hidden)

    for adapter, rows in asked_rows().items():
        for row in rows:
            for tally in tallies.values():
                tally.begin(adapter)
            ids = torch.tensor([base.tokenizer(row.prompt).input_ids])
            survey(routed, packs["prototypes"], ids, look)
            for tally in tallies.values():
                tally.end()
    return tallies


def main() -> None:
    """Train what is not kept yet, ask, print and save the table."""
    base = load_base(BaseRef(str(BASE)))
    experts = {
        task.adapter: expert_factors(read_adapter(task.adapter_directory, base.spec)) for task in TASKS
    }
    gates: dict[str, Gates] = {"prototypes": {}}
    seconds: dict[str, float | None] = {"prototypes": None}
    for source, train in SOURCES.items():
        gates[source], seconds[source] = kept(source, lambda train=train: train(base, experts))  # type: ignore[misc]
    neutral, routed = neutral_tokens(base, sequences=32), RoutedModel(base)
    packs = {}
    for source, trained in gates.items():
        pack = pack_experts(experts, base.spec, gates=trained, device=base.device, dtype=base.dtype)
        packs[source] = calibrated_pack(routed, pack, neutral, neutral="bench")
    figures = {
        source: {
            "prompt": tally.right_prompts / tally.prompts,
            "token": tally.right_tokens / tally.tokens,
            "seconds": seconds[source],
        }
        for source, tally in tallied(base, routed, packs).items()
    }
    rows = [[CALLED[name], f"{one['prompt']:.1%}", f"{one['token']:.1%}"] for name, one in figures.items()]
    questions = sum(map(len, asked_rows().values()))
    show(
        f"Right expert first, {len(TASKS)} experts, {questions} questions, evidence",
        ["recognised by", "prompts", "tokens"],
        rows,
    )
    save("gate_sources", {"questions": questions, "sources": figures})


if __name__ == "__main__":
    main()
