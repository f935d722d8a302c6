"""An expert that is another one again is recognised however it was rewritten, and siblings are left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from routing.adapter import Adapter, LowRank, read_adapter
from routing.checks.copies import KnownExpert, run_copy_checks
from routing.factors import Factors, expert_factors, fingerprint
from tests.routing.checks.uploads import spec
from tests.tiny import tiny_adapter


def an_adapter(directory: Path, seed: int) -> Adapter:
    return read_adapter(tiny_adapter(directory / str(seed), seed=seed), spec())


def known(factors: Mapping[str, Factors], adapter: str = "ann/poems") -> KnownExpert:
    return KnownExpert(adapter, "f" * 40, fingerprint(factors), lambda: factors)


def each(adapter: Adapter, change: Callable[[LowRank], LowRank]) -> Adapter:
    return Adapter({name: change(update) for name, update in adapter.low_rank.items()})


def mixed(update: LowRank) -> LowRank:
    mixing = torch.randn(update.rank, update.rank, generator=torch.Generator().manual_seed(1))
    return LowRank(mixing @ update.a, update.b @ torch.linalg.inv(mixing), update.scaling)


def noisy(share: float) -> Callable[[LowRank], LowRank]:
    def change(update: LowRank) -> LowRank:
        noise = torch.randn(update.b.shape, generator=torch.Generator().manual_seed(2))
        return LowRank(update.a, update.b + share * update.b.std() * noise, update.scaling)

    return change


REWRITTEN: dict[str, Callable[[LowRank], LowRank]] = {
    "as it is": lambda u: u,
    "rescaled": lambda u: LowRank(u.a * 3, u.b, u.scaling * 7),
    "factored anew": mixed,
    "in half precision": lambda u: LowRank(u.a.half().float(), u.b.half().float(), u.scaling),
    "in brain half precision": lambda u: LowRank(u.a.bfloat16().float(), u.b.bfloat16().float(), u.scaling),
    "padded with zeros": lambda u: LowRank(
        torch.cat([u.a, torch.randn(4, u.a.shape[1])]),
        torch.cat([u.b, torch.zeros(u.b.shape[0], 4)], 1),
        u.scaling,
    ),
    "with a little noise": noisy(0.1),
}


@pytest.mark.parametrize("way", REWRITTEN)
def test_a_copy_is_refused_and_names_the_original(tmp_path: Path, way: str) -> None:
    original = an_adapter(tmp_path, 1)
    copy = expert_factors(each(original, REWRITTEN[way]))

    (finding,) = run_copy_checks(copy, [known(expert_factors(original))], adapter="bob/verses")

    assert (finding.check, finding.severity) == ("copy", "error")
    assert "ann/poems at ffffffffffff" in finding.found


def test_a_close_relative_is_pointed_out(tmp_path: Path) -> None:
    original = an_adapter(tmp_path, 1)
    relative = expert_factors(each(original, noisy(0.5)))

    (finding,) = run_copy_checks(relative, [known(expert_factors(original))], adapter="bob/verses")

    assert finding.severity == "warning"


def test_strangers_and_ones_own_earlier_releases_pass(tmp_path: Path) -> None:
    mine, other = (expert_factors(an_adapter(tmp_path, seed)) for seed in (1, 2))

    assert run_copy_checks(mine, [known(other), known(mine, "bob/verses")], adapter="bob/verses") == []


def test_the_factors_of_strangers_are_not_even_read(tmp_path: Path) -> None:
    mine, other = (expert_factors(an_adapter(tmp_path, seed)) for seed in (1, 2))

    def refuse() -> Mapping[str, Factors]:
        raise AssertionError("read for nothing")

    stranger = KnownExpert("ann/poems", "f" * 40, fingerprint(other), refuse)

    assert run_copy_checks(mine, [stranger], adapter="bob/verses") == []
