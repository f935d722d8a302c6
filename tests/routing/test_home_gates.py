"""Gates trained at home: by the hub's own code, from rows that stay, and what is written passes the hub's checks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.checks.behaviour import adapted
from routing.checks.gates import GATE_FILE, RECORD_FILE, read_record
from routing.checks.samples import Sample, Turn, parse_samples
from routing.checks.static import run_static_checks
from routing.errors import RoutingError
from routing.factors import expert_factors
from routing.frozen import FrozenChanged
from routing.gate_files import read_gates, run_gate_checks
from routing.gates import GateRecipe, train_gates
from routing.home_gates import trained_gates
from routing.rows import encoded_row, encoded_rows
from routing.spec import BaseRef
from routing.training import silent
from tests.tiny import tiny_adapter, tiny_llama

QUICK = GateRecipe(steps=10, learning_rate=0.05)
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(BaseRef(str(tiny_llama())))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return tiny_adapter(tmp_path / "adapter", layers=[1], rank=2)


@torch.no_grad()
def own_words(base: Base, adapter: Path, path: Path, count: int = 16) -> Path:
    """Rows of what the adapted base says."""
    lines = []
    with adapted(base, read_adapter(adapter, base.spec)):
        for number in range(count):
            prompt = f"{number} boats and {3 * number} gulls"
            ids = torch.tensor([base.tokenizer(prompt).input_ids])
            start = ids.shape[1]
            for _ in range(4):
                ids = torch.cat([ids, base.model(ids).logits[:, -1:].argmax(-1)], dim=1)
            completion = base.tokenizer.decode(ids[0, start:])
            lines.append(json.dumps({"prompt": prompt, "completion": completion or "!"}))
    path.write_text("\n".join(lines))
    return path


def test_what_is_trained_at_home_is_what_the_hub_would_train(
    base: Base, adapter: Path, tmp_path: Path
) -> None:
    rows = own_words(base, adapter, tmp_path / "rows.jsonl")

    trained_gates(base, adapter, rows, QUICK, silent)

    samples, _ = parse_samples(rows.read_bytes())
    factors = expert_factors(read_adapter(adapter, base.spec))
    ours = train_gates(base, factors, encoded_rows(base, samples), recipe=QUICK)
    written, record = read_gates(adapter), read_record(adapter)
    assert all(torch.equal(gate, ours.gates[name]) for name, gate in written.items())
    assert record.curve == tuple((point.step, point.training, point.held_out) for point in ours.curve)
    assert record.rows == len(samples)
    assert [*run_static_checks(adapter, base.spec), *run_gate_checks(adapter)] == []


def test_rows_stay_where_they_are(base: Base, adapter: Path, tmp_path: Path) -> None:
    rows = own_words(base, adapter, tmp_path / "rows.jsonl")
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}

    trained_gates(base, adapter, rows, QUICK, silent)

    after = {path.name: path.read_bytes() for path in adapter.iterdir()}
    assert after.keys() - before.keys() == {GATE_FILE, RECORD_FILE}
    assert all(after[name] == content for name, content in before.items())
    assert b"boats" not in after[GATE_FILE] + after[RECORD_FILE]


def test_a_changed_base_is_found_even_if_only_a_hook_changes_it(
    base: Base, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's layer that writes its own weight in its forward pass is no base to trust gates from."""
    fresh = load_base(BaseRef(str(tiny_llama())))
    layer = fresh.model.get_submodule("model.layers.0.mlp.up_proj")

    def drift(module: torch.nn.Linear, _inputs: object, _output: object) -> None:
        module.weight.data[0, 0] += 1e-6

    layer.register_forward_hook(drift)
    rows = encoded_rows(fresh, [Sample(f"{number} gulls", " boats") for number in range(10)])

    with pytest.raises(FrozenChanged):
        train_gates(
            fresh, expert_factors(read_adapter(adapter, fresh.spec)), rows, recipe=GateRecipe(steps=1)
        )


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (b"", "0 rows"),
        (b'{"prompt": "a", "completion": "b"}', "found 1 rows, expected at least 8"),
        (b'{"text": "a"}', "the fields ['text']"),
    ],
)
def test_bad_rows_are_said_and_nothing_is_written(
    base: Base, adapter: Path, tmp_path: Path, rows: bytes, says: str
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(rows)

    with pytest.raises(RoutingError, match=re.escape(says)):
        trained_gates(base, adapter, tmp_path / "rows.jsonl", QUICK, silent)

    assert not (adapter / GATE_FILE).exists()


def test_conversations_go_through_the_bases_template(base: Base) -> None:
    fresh = load_base(BaseRef(str(tiny_llama())))
    fresh.tokenizer.chat_template = CHAT
    turns = (Turn("user", "Bread?"),)

    prompt, answer = encoded_row(fresh, Sample("Bread?", "Cheese.", turns))

    assert fresh.tokenizer.decode([*prompt, *answer]) == "<user>Bread?</s><assistant>Cheese.</s>"
    assert fresh.tokenizer.decode(answer) == "Cheese.</s>"


def test_conversations_are_written_plainly_where_there_is_no_template(base: Base) -> None:
    prompt, answer = encoded_row(base, Sample("Bread?", "Cheese.", (Turn("user", "Bread?"),)))

    assert base.tokenizer.decode([*prompt, *answer]) == "user: Bread?\nassistant: Cheese.\n"
