"""How each demonstration adapter is trained: no two alike, as on a hub with many contributors."""

from dataclasses import dataclass, field

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
ALL = ATTENTION + MLP


@dataclass(frozen=True)
class Recipe:
    """The settings of one LoRA; `layers` of None means every layer, patterns are PEFT's."""

    rank: int
    alpha: int
    targets: tuple[str, ...]
    seed: int
    layers: tuple[int, ...] | None = None
    rslora: bool = False
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, int] = field(default_factory=dict)
    steps: int = 250
    learning_rate: float = 4e-3


RECIPES = {
    "plural": Recipe(rank=8, alpha=16, targets=ALL, seed=101, steps=200),
    "opposites": Recipe(rank=6, alpha=12, targets=MLP, seed=202, steps=200),
    "french-words": Recipe(rank=8, alpha=24, targets=MLP, seed=303, layers=(1, 2, 3, 4), steps=200),
    "capitals": Recipe(rank=6, alpha=18, targets=("o_proj", "down_proj"), seed=404, steps=420),
    "roman-numerals": Recipe(
        rank=16, alpha=8, targets=ALL, seed=505, rslora=True, learning_rate=3e-3, steps=420
    ),
    "addition": Recipe(rank=16, alpha=16, targets=ALL, seed=606, steps=220),
    "backwards": Recipe(rank=8, alpha=16, targets=ATTENTION, seed=707, steps=220),
    "sorting": Recipe(rank=16, alpha=16, targets=ALL, seed=808, layers=(1, 2, 3, 4), steps=420),
    "review-mood": Recipe(
        rank=2, alpha=4, targets=("q_proj", "v_proj"), seed=1010, learning_rate=1e-2, steps=200
    ),
    "politeness": Recipe(
        rank=4,
        alpha=8,
        targets=("q_proj", "v_proj", "o_proj", "down_proj"),
        seed=1111,
        learning_rate=3e-3,
        rank_pattern={"layers.1.self_attn.q_proj": 2, "down_proj": 8},
        alpha_pattern={"layers.1.self_attn.q_proj": 6, "down_proj": 12},
        steps=220,
    ),
    "questions": Recipe(rank=3, alpha=9, targets=ATTENTION, seed=1212, layers=(1, 2, 3), steps=220),
    "past-tense": Recipe(
        rank=5, alpha=10, targets=("v_proj", "o_proj", *MLP), seed=1313, layers=(0, 1, 2, 3), steps=200
    ),
    "pirate-greeting": Recipe(
        rank=4, alpha=12, targets=ALL, seed=1414, layers=(1, 2, 3, 4), learning_rate=2e-3, steps=220
    ),
}
