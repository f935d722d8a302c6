"""Every score against a float64 reference on dense updates, and calibration against moments taken by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from routing.errors import RoutingError
from routing.expert_statistics import AMBIGUOUS_RATIO
from routing.pack import ModulePack, Moments, Update, pack_updates, standardised
from routing.routers import ROUTERS, Terms, best
from routing.scores import SCORES, calibrated, evidence

D_IN, D_OUT, TOKENS = 12, 9, 6


def experts_of(ranks: list[int], *, seed: int = 0, gated: tuple[int, ...] = ()) -> ModulePack:
    """Experts in canonical form: orthonormal rows of a, orthogonal rows of b with falling lengths."""
    draw = torch.Generator().manual_seed(seed)
    updates = []
    for place, rank in enumerate(ranks):
        a = torch.linalg.qr(torch.randn(D_IN, rank, generator=draw)).Q.T
        u = torch.linalg.qr(torch.randn(D_OUT, rank, generator=draw)).Q.T
        sigma = torch.rand(rank, generator=draw).sort(descending=True).values + 0.1
        gate = standardised(torch.randn(D_IN, generator=draw)) if place in gated else None
        updates.append({"layer": Update(a[0], a, sigma[:, None] * u, gate)})
    return pack_updates(updates)["layer"]


def inputs(seed: int = 1, tokens: int = TOKENS) -> torch.Tensor:
    return torch.randn(tokens, D_IN, generator=torch.Generator().manual_seed(seed))


def dense(module: ModulePack, row: int) -> torch.Tensor:
    update = module.update(row)
    return update.b.double().T @ update.a.double()


def by_hand(kind: str, hidden: torch.Tensor, module: ModulePack) -> torch.Tensor:
    """Each score from the d_out x d_in update itself, in float64."""
    columns = []
    for row in range(len(module)):
        _u, _sigma, vh = torch.linalg.svd(dense(module, row), full_matrices=False)
        rank = module.ranks[row]
        match kind:
            case "arrow":
                columns.append((hidden.double() @ vh[0]).abs())
            case "subspace":
                columns.append((hidden.double() @ vh[:rank].T).norm(dim=1))
            case "delta-norm":
                columns.append((hidden.double() @ dense(module, row).T).norm(dim=1))
    return torch.stack(columns, dim=1)


def sharp(module: ModulePack, row: int) -> bool:
    """Is one direction clearly the first? Between two of nearly equal strength rounding decides."""
    sigma = torch.linalg.svdvals(dense(module, row))
    return bool(sigma[1] < AMBIGUOUS_RATIO * sigma[0])


@given(ranks=st.lists(st.integers(1, 6), min_size=1, max_size=6), seed=st.integers(0, 999))
@pytest.mark.parametrize("kind", ["arrow", "subspace", "delta-norm"])
def test_scores_equal_those_of_the_dense_update(kind: str, ranks: list[int], seed: int) -> None:
    module, hidden = experts_of(ranks, seed=seed), inputs(seed + 1)
    assume(kind != "arrow" or all(sharp(module, row) for row in range(len(module))))

    found = SCORES[kind](hidden, module)

    torch.testing.assert_close(found.double(), by_hand(kind, hidden, module), atol=1e-4, rtol=1e-4)


def test_a_gate_scores_as_two_layer_norms_and_a_scaled_product() -> None:
    module, hidden = experts_of([2, 3], gated=(0, 1)), inputs()
    norm = torch.nn.functional.layer_norm

    found = SCORES["gate"](hidden, module)

    gates = norm(module.vectors.gates, (D_IN,), eps=0.0)
    expected = norm(hidden, (D_IN,), eps=0.0) @ gates.T / D_IN**0.5
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@given(scale=st.floats(0.01, 100.0), shift=st.floats(-5.0, 5.0))
def test_the_size_of_an_input_or_of_a_gate_does_not_move_its_score(scale: float, shift: float) -> None:
    module, hidden = experts_of([2], gated=(0,)), inputs()
    gate = module.vectors.gates[0]
    again = pack_updates([{"layer": replace(module.update(0), gate=standardised(scale * gate + shift))}])[
        "layer"
    ]

    torch.testing.assert_close(
        SCORES["gate"](scale * hidden + shift, again), SCORES["gate"](hidden, module), atol=1e-3, rtol=1e-3
    )


def test_an_expert_without_a_gate_is_never_chosen_by_gates() -> None:
    module = experts_of([2, 2, 2], gated=(0, 2))

    chosen = ROUTERS["phatgoose"](inputs(), module, Terms(3, 1.0, 3))

    assert torch.isfinite(chosen.weights).all()
    spoke = chosen.experts[chosen.weights > 0]
    assert set(spoke.tolist()) == {0, 2}


def with_moments(module: ModulePack, hidden: torch.Tensor) -> ModulePack:
    def moments(kind: str) -> Moments:
        scores = SCORES[kind](hidden, module).nan_to_num(neginf=0.0)
        return Moments(scores.mean(0), scores.std(0))

    found: Mapping[str, Moments] = {kind: moments(kind) for kind in SCORES}
    return replace(module, moments=found)


@pytest.mark.parametrize("kind", ["arrow", "subspace", "delta-norm"])
def test_calibrated_scores_of_neutral_text_have_mean_zero_and_deviation_one(kind: str) -> None:
    neutral = inputs(7, tokens=500)
    module = with_moments(experts_of([1, 3, 6]), neutral)

    found = calibrated(kind, neutral, module)

    torch.testing.assert_close(found.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0), torch.ones(3), atol=1e-4, rtol=0)


@given(loudness=st.floats(0.001, 1000.0))
def test_the_loudness_of_an_expert_does_not_move_its_calibrated_selection(loudness: float) -> None:
    neutral, hidden = inputs(7, tokens=200), inputs(8)
    quiet = experts_of([2, 2])
    loud = replace(quiet, b=quiet.b * torch.where(quiet.owners == 1, loudness, 1.0)[:, None])
    terms = Terms(1, 1.0, 2, calibrated=True)

    before = ROUTERS["delta-norm"](hidden, with_moments(quiet, neutral), terms)
    after = ROUTERS["delta-norm"](hidden, with_moments(loud, neutral), terms)

    assert torch.equal(before.experts, after.experts)


def test_scores_that_were_never_calibrated_are_refused() -> None:
    with pytest.raises(RoutingError, match="'arrow' are not calibrated"):
        calibrated("arrow", inputs(), experts_of([2]))


def test_evidence_is_the_gate_where_there_is_one_and_else_the_prototype() -> None:
    hidden = inputs()
    module = with_moments(experts_of([2, 2], gated=(1,)), inputs(7, tokens=300))

    found = evidence(hidden, module)

    torch.testing.assert_close(found[:, 0], calibrated("arrow", hidden, module)[:, 0])
    torch.testing.assert_close(found[:, 1], calibrated("gate", hidden, module)[:, 1])


def test_two_stages_rank_the_arrow_list_anew_and_choose_nobody_else() -> None:
    hidden = inputs(9, tokens=40)
    module = with_moments(experts_of([3] * 30), inputs(7, tokens=300))

    chosen = ROUTERS["two-stage"](hidden, module, Terms(2, 1.0, 30))

    listed = calibrated("arrow", hidden, module).topk(8, dim=1).indices
    second = calibrated("subspace", hidden, module)
    for token in range(40):
        best_listed = listed[token][second[token, listed[token]].argmax()]
        assert int(chosen.experts[token, 0]) == int(best_listed)
        assert set(chosen.experts[token].tolist()) <= set(listed[token].tolist())


def test_a_token_whose_best_score_is_too_low_keeps_the_plain_base() -> None:
    scores = torch.tensor([[0.9, 0.1], [1.1, 0.2], [-3.0, -4.0]])

    chosen = best(scores, Terms(2, 1.0, 2, abstain=1.0))

    assert chosen.weights[0].tolist() == [0.0, 0.0]
    assert float(chosen.weights[1].sum()) == pytest.approx(1.0)
    assert chosen.weights[2].tolist() == [0.0, 0.0]
