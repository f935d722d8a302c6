"""How the experts of a checkpoint are merged: the options of `MergePlan` in `routing`, which the hub does not
import, each with what it may be.
"""

import math
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MethodName = Literal["mean", "weighted", "task-arithmetic", "magnitude", "ties", "dare-linear", "dare-ties"]
Called = Callable[[str], str]
METHODS: tuple[str, ...] = get_args(MethodName)
WITH_DENSITY = ("magnitude", "ties", "dare-linear", "dare-ties")
WITH_SEED = ("dare-linear", "dare-ties")
LARGEST_SEED = 2**53 - 1  # what JSON carries whole everywhere
EXPECTED = {
    "method": f"one of {', '.join(METHODS)}",
    "weights": "numbers by expert",
    "scale": "a number",
    "density": "a number above 0, at most 1",
    "seed": f"a whole number from 0 to {LARGEST_SEED}",
}
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class Merging(BaseModel):
    """The mean, unless somebody decides otherwise."""

    model_config = ConfigDict(extra="forbid", strict=True)

    method: MethodName = "mean"
    weights: dict[str, Number] | None = None
    scale: Number = 1.0
    density: Annotated[Number, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0


FIELDS = tuple(Merging.model_fields)


def check_merging(
    options: dict[str, Any], experts: Collection[str], called: Called = str
) -> tuple[dict[str, Any], list[str]]:
    """The options of a merge of these experts in one spelling, and every complaint about them, in which
    options and methods are `called` as whoever reads it knows them.

    What is left as it usually is, or means nothing to the method, is not spelled out.
    """
    try:
        merging = Merging(**options)
    except ValidationError as error:
        fields = {str(one["loc"][0]): one["input"] for one in error.errors()}
        return {}, [
            f"{called(name)} is {found!r}; expected {EXPECTED[name]}" for name, found in fields.items()
        ]
    complaints = [*_of_weights(merging, experts, called)]
    if merging.density is not None and merging.method not in WITH_DENSITY:
        methods = ", ".join(called(method) for method in WITH_DENSITY)
        complaints.append(f"{called('density')} belongs to {methods}, not to {called(merging.method)}")
    wanted = merging.model_dump(exclude_defaults=True)
    if merging.method not in WITH_SEED:
        wanted.pop("seed", None)
    return wanted, complaints


def _of_weights(merging: Merging, experts: Collection[str], called: Called) -> list[str]:
    method, weights, spoken = merging.method, merging.weights, called("weights")
    if weights is None:
        return [f"{spoken} are missing; expected one for each expert"] if method == "weighted" else []
    if method == "mean":
        return [f"{spoken} belong to the other methods; a mean has equal shares"]
    complaints = []
    if set(weights) != set(experts):
        odd = sorted(set(weights) ^ set(experts))[:5]
        complaints.append(f"{spoken} name other experts than are merged ({', '.join(odd)})")
    if method == "weighted" and (min(weights.values(), default=0) < 0 or math.fsum(weights.values()) <= 0):
        complaints.append(f"{spoken} of a weighted mean are 0 or above, and not all 0")
    return complaints
