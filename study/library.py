"""The experts of a suite for one seed, read or trained, and everything else that the study makes of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random

from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from routing.adapter import read_adapter
from routing.base import Base
from routing.checks.samples import Sample
from routing.classifier import TooFewPrompts, train_classifier
from routing.clustering import cluster
from routing.composed import ComposedModel, compose
from routing.digests import digest_of
from routing.encoding import BaseEncoder
from routing.factors import Factors, expert_factors
from routing.gates import GateRecipe, train_gates
from routing.index import RoutingPolicy
from routing.merge import MergePlan, at_rank, merge_experts
from routing.profiles import Profile
from routing.retrieval import profile_of
from routing.rows import encoded_rows
from routing.similarity import similarity
from study.suite import SEED, ExpertSource, Recipe, Suite, read_rows
from study.training import trained_adapter

Expert = Mapping[str, Factors]
Gates = Mapping[str, Float[Tensor, " d_in"]]
Say = Callable[[str], None]
POOLED = "pooled"
MERGED_RANK = 256  # of a merge that is not low-rank, the best approximation


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
        """All experts, calibrated, with gates and a classifier of prompts where their rows allow them."""
        plain = self.compose(self.experts, gates=self.gates, profiles=self.profiles)
        encoder = BaseEncoder(self.base)
        neutral = encoder.encode(self.neutral.tolist())
        try:
            head, _ = train_classifier(self.profiles, neutral, encoder=encoder.name)
        except TooFewPrompts:
            return plain
        return replace(plain, pack=replace(plain.pack, classifier=head))

    @cached_property
    def gates(self) -> Mapping[str, Gates]:
        """A gate of every expert that has rows, as PHATGOOSE trains them; none where that takes no steps."""
        if not self.suite.gate_steps:
            return {}
        return {source.name: self._gates(source) for source in self.suite.experts if source.rows is not None}

    @cached_property
    def pooled_rows(self) -> list[Sample]:
        """Everybody's rows: the same number of each, so that no task drowns another."""
        return self._rows_of(self.suite.names)

    @cached_property
    def multitask(self) -> ComposedModel | None:
        """One LoRA trained on everybody's rows; None where nobody gave any."""
        if not self.pooled_rows:
            return None
        self.say("one LoRA on all rows")
        return self.alone(self._trained(self.pooled_rows, self.suite.pooled))

    @cached_property
    def clusters(self) -> ComposedModel | None:
        """MBC: one LoRA per cluster of experts, trained on its members' rows, calibrated; None without rows.

        Where no grouping is clear there are as many clusters as the square root of the number of experts. All
        of them together are trained for as many steps as the one LoRA on all rows.
        """
        if any(source.rows is None for source in self.suite.experts):
            return None
        found = similarity(self.experts)
        groups = cluster(found).groups
        if len(groups) == 1:
            groups = cluster(found, count=math.isqrt(len(found.names))).groups
        self.say(f"{len(groups)} clusters: " + "; ".join(", ".join(group) for group in groups))
        recipe = replace(self.suite.pooled, steps=max(1, self.suite.pooled.steps // len(groups)))
        return self.compose(
            {
                f"cluster {number}": self._trained(self._rows_of(group), recipe)
                for number, group in enumerate(groups)
            }
        )

    @cached_property
    def profiles(self) -> Mapping[str, Profile]:
        """Every expert as it introduces itself: its description, and sample prompts where it has rows."""
        encoder = BaseEncoder(self.base)
        return {
            source.name: profile_of(
                self.base,
                encoder,
                adapter=source.name,
                description=source.description,
                prompts=[row.prompt for row in self._sample(source)],
            )
            for source in self.suite.experts
        }

    def merged(self, plan: MergePlan) -> ComposedModel:
        """All experts folded into one update, of at most `MERGED_RANK` at each module."""
        updates = merge_experts({name: dict(one) for name, one in self.experts.items()}, plan)
        found = {}
        for module, update in updates.items():
            widths = self.base.spec.module(module)
            found[module], _ = at_rank(update, min(MERGED_RANK, widths.d_in, widths.d_out))
        return self.alone(found)

    def compose(
        self,
        experts: Mapping[str, Expert],
        *,
        gates: Mapping[str, Gates] | None = None,
        profiles: Mapping[str, Profile] | None = None,
    ) -> ComposedModel:
        """Experts on this library's base, calibrated on its neutral text."""
        return compose(
            self.base,
            {name: dict(one) for name, one in experts.items()},
            gates=gates,
            neutral=self.neutral,
            profiles=profiles,
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

    def _rows_of(self, names: Sequence[str]) -> list[Sample]:
        """The rows of these experts: as many of each, so that no task drowns another."""
        files = [
            source.rows for source in self.suite.experts if source.name in names and source.rows is not None
        ]
        rows = [read_rows(path) for path in files]
        fewest = min(map(len, rows), default=0)
        return [row for some in rows for row in Random(self.seed).sample(some, fewest)]

    def _sample(self, source: ExpertSource) -> list[Sample]:
        """What of its rows an expert shows the hub."""
        rows = [] if source.rows is None else read_rows(source.rows)
        return Random(self.seed).sample(rows, min(self.suite.gate_rows, len(rows)))

    def _gates(self, source: ExpertSource) -> Gates:
        drawn = self._sample(source)
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
