"""The experts of a suite for one seed, read or trained, and everything else that the study makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from routing.adapter import read_adapter
from routing.base import Base
from routing.checks.samples import Sample
from routing.composed import ComposedModel, compose
from routing.digests import digest_of
from routing.factors import Factors, expert_factors
from routing.gates import GateRecipe, train_gates
from routing.index import RoutingPolicy
from routing.merge import mean_expert
from routing.rows import encoded_rows
from study.suite import SEED, ExpertSource, Recipe, Suite, read_rows
from study.training import trained_adapter

Expert = Mapping[str, Factors]
Gates = Mapping[str, Float[Tensor, " d_in"]]
Say = Callable[[str], None]
POOLED = "pooled"


@dataclass(frozen=True)
class Library:
    """One seed's library. What costs something is made when it is first asked for, and then kept."""

    suite: Suite
    base: Base
    seed: int
    cache: Path
    neutral: Int[Tensor, "sequences length"]
    say: Say

    @cached_property
    def experts(self) -> Mapping[str, Expert]:
        """The factors of every expert; who comes first is shuffled by the seed."""
        order = Random(self.seed).sample(self.suite.experts, len(self.suite.experts))
        return {source.name: self._expert(source) for source in order}

    @cached_property
    def composed(self) -> ComposedModel:
        """All experts, calibrated, with gates where they have rows."""
        return self.compose(self.experts, gates=self.gates)

    @cached_property
    def gates(self) -> Mapping[str, Gates]:
        """A gate of every expert that has rows, as PHATGOOSE trains them."""
        return {source.name: self._gates(source) for source in self.suite.experts if source.rows is not None}

    @cached_property
    def pooled_rows(self) -> list[Sample]:
        """Everybody's rows: the same number of each, so that no task drowns another."""
        rows = [read_rows(source.rows) for source in self.suite.experts if source.rows is not None]
        fewest = min(map(len, rows), default=0)
        return [row for some in rows for row in Random(self.seed).sample(some, fewest)]

    @cached_property
    def multitask(self) -> ComposedModel | None:
        """One LoRA trained on everybody's rows; None where nobody gave any."""
        if not self.pooled_rows:
            return None
        self.say("one LoRA on all rows")
        return self.alone(self._trained(self.pooled_rows, self.suite.pooled))

    @property
    def mean(self) -> ComposedModel:
        """The exact mean of all updates as one expert."""
        modules = [module.name for module in self.base.spec.target_modules]
        return self.alone(mean_expert(list(self.experts.values()), modules))

    def compose(
        self, experts: Mapping[str, Expert], *, gates: Mapping[str, Gates] | None = None
    ) -> ComposedModel:
        """Experts on this library's base, calibrated on its neutral text."""
        return compose(
            self.base, {name: dict(one) for name, one in experts.items()}, gates=gates, neutral=self.neutral
        )

    def alone(self, expert: Expert) -> ComposedModel:
        """A library of one, whose tokens have no choice: nothing is calibrated."""
        return compose(
            self.base, {POOLED: dict(expert)}, RoutingPolicy("uniform", calibrated=False, shortlist=0)
        )

    def _expert(self, source: ExpertSource) -> Expert:
        if source.adapter is not None:
            folder = Path(source.adapter.replace(SEED, str(self.seed)))
            return expert_factors(read_adapter(folder, self.base.spec))
        self.say(f"expert {source.name}")
        assert source.rows is not None
        return self._trained(read_rows(source.rows), self.suite.training)

    def _trained(self, rows: list[Sample], recipe: Recipe) -> Expert:
        folder = trained_adapter(self.base, self.suite.base, rows, recipe, seed=self.seed, cache=self.cache)
        return expert_factors(read_adapter(folder, self.base.spec))

    def _gates(self, source: ExpertSource) -> Gates:
        rows = read_rows(source.rows) if source.rows is not None else []
        drawn = Random(self.seed).sample(rows, min(self.suite.gate_rows, len(rows)))
        recipe = GateRecipe(steps=self.suite.gate_steps, batch=self.suite.gate_batch, seed=self.seed)
        expert = self.experts[source.name]
        place = self.cache / "gates" / f"{self._gates_digest(expert, drawn, recipe)}.safetensors"
        if not place.exists():
            self.say(f"gates of {source.name}")
            trained = train_gates(self.base, expert, encoded_rows(self.base, drawn), recipe=recipe)
            place.parent.mkdir(parents=True, exist_ok=True)
            save_file(dict(trained.gates), place)
        return load_file(place)

    def _gates_digest(self, expert: Expert, rows: list[Sample], recipe: GateRecipe) -> str:
        numbers = [
            [name, float(one.sigma.double().sum()), float(one.a.double().sum())]
            for name, one in expert.items()
        ]
        texts = [[row.prompt, row.completion] for row in rows]
        said = [self.base.spec.digest, repr(recipe), texts, numbers]
        return digest_of(json.dumps(said).encode())[:32]
