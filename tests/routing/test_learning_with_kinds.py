"""What is learnt about experts of every kind, DoRA and (IA)^3 too: gates and calibration, against float64.

The references know the methods' papers (`tests.routing.kinds.dense_update`) and torch, nothing of ours.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter, functional

from routing.base import Base
from routing.calibration import calibrated_pack
from routing.competition import by_expert, compete, competing
from routing.factors import Factors
from routing.gates import GateRecipe, gated, train_gates
from routing.pack import Pack
from routing.packing import pack_experts
from routing.routed import RoutedModel
from routing.weights import layers_of
from tests.routing.kinds import dense_update, factors_of, gpt2_kinds, llama_kinds
from tests.routing.libraries import SmallLibrary

LIBRARIES = {"llama": llama_kinds, "gpt2": gpt2_kinds}
TOKENS = torch.tensor([[5, 40, 9, 77, 13, 250, 31, 8]])
NEUTRAL = torch.arange(2, 62).view(3, 20)
Change = Callable[[Tensor], Tensor]  # from a module's input to what an adapter adds there


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return LIBRARIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def base(library: SmallLibrary) -> Base:
    return library.base()


@pytest.fixture(scope="module")
def experts(library: SmallLibrary, base: Base) -> dict[str, dict[str, Factors]]:
    return factors_of(library, base)


@pytest.fixture(scope="module")
def pack(base: Base, experts: dict[str, dict[str, Factors]]) -> Pack:
    return pack_experts(experts, base.spec, device=base.device, dtype=base.dtype)


def change_of(library: SmallLibrary, base: Base, expert: str, module: str) -> Change:
    """What an adapter adds at a module, in float64."""
    layer = layers_of(base)(module)
    bias = None if layer.bias is None else layer.bias.double()
    weight, shift = dense_update(library.adapters[expert], base, module, layer.weight.double(), bias)
    return lambda hidden: hidden @ weight.T + shift


def loss_of(model: Any) -> Tensor:
    """Of the last four tokens."""
    logits = model(TOKENS).logits[0, 3:-1]
    return functional.cross_entropy(logits, TOKENS[0, 4:])


@contextlib.contextmanager
def in_double(base: Base, added: Mapping[str, Change]) -> Iterator[Any]:
    """The base in float64, with something added at modules."""
    model = copy.deepcopy(base.model).double()
    for name, change in added.items():

        def add(_layer: Any, inputs: tuple[Tensor], output: Tensor, change: Change = change) -> Tensor:
            return output + change(inputs[0])

        model.get_submodule(name).register_forward_hook(add)
    yield model


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Parameter]:
    draw = torch.Generator().manual_seed(seed)
    return {name: Parameter(torch.randn(shape, generator=draw) * 0.3) for name, shape in shapes.items()}


def assert_same_gradients(gates: Mapping[str, Parameter], exact: Mapping[str, Parameter]) -> None:
    for name, gate in gates.items():
        assert gate.grad is not None
        expected = exact[name].grad
        assert expected is not None
        torch.testing.assert_close(gate.grad.double(), expected, atol=1e-5, rtol=1e-3)


def test_gates_of_every_kind_have_the_loss_and_gradients_of_the_dense_update(
    library: SmallLibrary, base: Base, experts: dict[str, dict[str, Factors]]
) -> None:
    for seed, (expert, factors) in enumerate(experts.items()):
        gates = drawn({name: (one.a.shape[1],) for name, one in factors.items()}, seed)
        exact = {name: Parameter(gate.detach().double()) for name, gate in gates.items()}

        def opened(name: str, expert: str = expert, exact: Mapping[str, Parameter] = exact) -> Change:
            change = change_of(library, base, expert, name)
            return lambda hidden: torch.sigmoid(hidden @ exact[name]).unsqueeze(-1) * change(hidden)

        with gated(base, factors, gates):
            loss = loss_of(base.model)
            loss.backward()
        with in_double(base, {name: opened(name) for name in factors}) as model:
            expected = loss_of(model)
            expected.backward()

        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
        assert_same_gradients(gates, exact)


def test_gates_of_every_kind_are_trained_and_nothing_else(
    base: Base, experts: dict[str, dict[str, Factors]]
) -> None:
    ids = torch.randint(2, 300, (16, 10), generator=torch.Generator().manual_seed(3)).tolist()
    rows = [(row[:6], row[6:]) for row in ids]
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    recipe = GateRecipe(steps=10, learning_rate=0.05, batch=16)

    for factors in experts.values():
        trained = train_gates(base, factors, rows, recipe=recipe)

        assert trained.curve[-1].training < trained.curve[0].training
        assert {name: gate.shape for name, gate in trained.gates.items()} == {
            name: one.a.shape[1:] for name, one in factors.items()
        }
    assert all(torch.equal(tensor, state[name]) for name, tensor in base.model.state_dict().items())


def test_gates_of_every_kind_compete_as_the_dense_updates_do(
    library: SmallLibrary, base: Base, pack: Pack
) -> None:
    gates = drawn({name: module.vectors.prototypes.shape for name, module in pack.modules.items()}, 5)
    exact = {name: Parameter(gate.detach().double()) for name, gate in gates.items()}

    def mixture(name: str) -> Change:
        changes = [
            change_of(library, base, pack.experts[member], name) for member in pack.modules[name].members
        ]

        def added(hidden: Tensor) -> Tensor:
            width = hidden.shape[-1]
            scores = functional.layer_norm(hidden, [width], eps=0.0) @ exact[name].T / width**0.5
            return sum(
                share.unsqueeze(-1) * change(hidden)
                for share, change in zip(scores.softmax(-1).unbind(-1), changes, strict=True)
            )

        return added

    with competing(base, pack, gates):
        loss = loss_of(base.model)
        loss.backward()
    with in_double(base, {name: mixture(name) for name in pack.modules}) as model:
        expected = loss_of(model)
        expected.backward()

    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert_same_gradients(gates, exact)


def test_a_competition_of_every_kind_is_run_to_its_end(base: Base, pack: Pack) -> None:
    ids = torch.randint(2, 300, (16, 10), generator=torch.Generator().manual_seed(3)).tolist()
    rows = [(row[:6], row[6:]) for row in ids]

    gates, course = compete(base, pack, rows, recipe=GateRecipe(steps=8, learning_rate=0.1, batch=16))

    assert course.curve[-1].training < course.curve[0].training
    assert gates.keys() == by_expert(pack, drawn({}, 0) | _nothing(pack)).keys()


def _nothing(pack: Pack) -> dict[str, Parameter]:
    return {name: Parameter(torch.zeros_like(one.vectors.prototypes)) for name, one in pack.modules.items()}


def test_every_kind_is_calibrated_by_the_scores_of_its_dense_update(
    library: SmallLibrary, base: Base, pack: Pack
) -> None:
    """Means and deviations of |v.x|, |V^T x| and |S V^T x| over neutral text, V from a whole decomposition."""
    found = calibrated_pack(RoutedModel(base), pack, NEUTRAL, neutral="text")
    seen: dict[str, list[Tensor]] = {name: [] for name in pack.modules}
    model = copy.deepcopy(base.model).double()
    for name in pack.modules:
        model.get_submodule(name).register_forward_hook(
            lambda _layer, inputs, _output, name=name: seen[name].append(inputs[0].flatten(0, 1))
        )
    with torch.no_grad():
        model(NEUTRAL)

    for name, module in pack.modules.items():
        (hidden,) = seen[name]
        weight = layers_of(base)(name).weight.double()
        for row, member in enumerate(module.members):
            adapter = library.adapters[pack.experts[member]]
            change, _shift = dense_update(adapter, base, name, weight, None)
            _u, sigma, v = torch.linalg.svd(change, full_matrices=False)
            part = None if module.scaled is None else module.scaled.part(row)
            kept = module.ranks[row] if part is None else len(part.sigma)
            inside = hidden @ v[:kept].T
            scores = {
                "arrow": inside[:, 0].abs(),
                "subspace": inside.norm(dim=1),
                "delta-norm": (inside * sigma[:kept]).norm(dim=1),
            }
            for kind, values in scores.items():
                moments = found.modules[name].moments[kind]
                assert float(moments.mean[row]) == pytest.approx(float(values.mean()), rel=1e-3)
                deviation = float(values.std(correction=0))
                assert float(moments.deviation[row]) == pytest.approx(deviation, rel=1e-3)
