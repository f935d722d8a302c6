"""Gates in competition: a softmax over all experts, trained in one run on rows that nobody labelled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional

from routing.competition import by_expert, compete, competing, mixing_weights, zero_gates
from routing.composed import compose
from routing.gates import GateRecipe
from routing.index import RoutingPolicy
from routing.packing import pack_experts
from tests.routing.libraries import TEXT, llama_library


def test_mixing_weights_are_the_softmax_of_the_scores_that_serve() -> None:
    draw = torch.Generator().manual_seed(0)
    hidden, gates = torch.randn(7, 12, generator=draw), torch.randn(3, 12, generator=draw)

    exact = functional.layer_norm(hidden.double(), [12], eps=0.0) @ gates.double().T / 12**0.5

    torch.testing.assert_close(mixing_weights(hidden, gates), exact.softmax(-1).float())


def test_before_training_everybody_speaks_by_an_equal_share(tmp_path: Path) -> None:
    library = llama_library(tmp_path)
    base = library.base()
    everywhere = {name: one for name, one in library.experts().items() if name in {"ada/plain", "bob/wide"}}
    uniform = compose(library.base(), everywhere, RoutingPolicy("uniform")).logits(TEXT)
    pack = pack_experts(everywhere, base.spec, device=base.device, dtype=base.dtype)

    with torch.no_grad(), competing(base, pack, zero_gates(pack)):
        logits = base.model(torch.tensor([base.tokenizer(TEXT)["input_ids"]])).logits[0]

    torch.testing.assert_close(logits, uniform, atol=1e-4, rtol=1e-4)


def test_rows_that_are_nobodys_have_no_share(tmp_path: Path) -> None:
    library = llama_library(tmp_path)
    base, experts = library.base(), library.experts()
    pack = pack_experts(experts, base.spec, device=base.device, dtype=base.dtype)
    more = {
        name: replace(module, a=torch.cat([module.a, module.a]), b=torch.cat([module.b, module.b]))
        for name, module in pack.modules.items()
    }
    ids = torch.tensor([base.tokenizer(TEXT)["input_ids"]])

    found = []
    for one in (pack, replace(pack, modules=more)):
        with torch.no_grad(), competing(base, one, zero_gates(one)):
            found.append(base.model(ids).logits)

    torch.testing.assert_close(found[0], found[1])


def test_competition_lowers_the_loss_and_leaves_everything_else_alone(tmp_path: Path) -> None:
    library = llama_library(tmp_path)
    base, experts = library.base(), library.experts()
    pack = pack_experts(experts, base.spec, device=base.device, dtype=base.dtype)
    ids = torch.randint(2, 300, (20, 10), generator=torch.Generator().manual_seed(3)).tolist()
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}

    gates, course = compete(
        base, pack, [(row[:6], row[6:]) for row in ids], recipe=GateRecipe(steps=10, learning_rate=0.1)
    )

    assert course.curve[-1].training < course.curve[0].training
    assert {name: set(modules) for name, modules in gates.items()} == {
        name: set(modules) for name, modules in experts.items()
    }
    assert all(torch.equal(tensor, state[name]) for name, tensor in base.model.state_dict().items())
    assert by_expert(pack, zero_gates(pack)).keys() == gates.keys()
