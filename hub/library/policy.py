"""How a library routes unless a request says otherwise: the fields of a policy, each with what it may be.

The same fields, with the same defaults, as `RoutingPolicy` in `routing`, which the hub does not import.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub.errors import Invalid

MOST_EXPERTS_PER_TOKEN = 64
# "single" needs an expert's name, so only a request can ask for it.
RouterName = Literal[
    "arrow",
    "phatgoose",
    "spectral",
    "delta-norm",
    "evidence",
    "two-stage",
    "uniform",
    "retrieval",
    "classifier",
    "lm",
]
PriorName = Literal["evidence", "auto", "retrieval", "classifier", "lm"]
ROUTERS: tuple[str, ...] = get_args(RouterName)
PRIORS: tuple[str, ...] = get_args(PriorName)
EXPECTED = {
    "router": f"one of {', '.join(ROUTERS)}",
    "top_k": f"a whole number from 1 to {MOST_EXPERTS_PER_TOKEN}",
    "temperature": "a number above 0",
    "shortlist": "0 for all experts, or how many to narrow to",
    "calibrated": "true or false",
    "abstain": "a number, or nothing",
    "prior": f"one of {', '.join(PRIORS)}",
    "prior_weight": "0 or a number above it",
    "prior_abstain": "true or false",
    "general": "a list of adapters, as owner/name",
    "subtract": "0 or a number above it",
}
AdapterName = Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")]
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class Policy(BaseModel):
    """What of a policy is not said is plain: Arrow as its paper and peft use it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    router: RouterName = "arrow"
    top_k: Annotated[int, Field(ge=1, le=MOST_EXPERTS_PER_TOKEN)] = 3
    temperature: Annotated[Number, Field(gt=0)] = 1.0
    shortlist: Annotated[int, Field(ge=0)] = 0
    calibrated: bool = False
    abstain: Number | None = None
    prior: PriorName = "evidence"
    prior_weight: Annotated[Number, Field(ge=0)] = 0.0
    prior_abstain: bool = False
    general: Annotated[tuple[AdapterName, ...], Field(strict=False)] = ()
    subtract: Annotated[Number, Field(ge=0)] = 0.0


# What a library begins with when nothing at all is decided; equal to `DEFAULT_POLICY` in `routing`.
DEFAULT = Policy(top_k=1, shortlist=1, prior="auto", prior_abstain=True)


def check_policy(policy: dict[str, Any], called: Callable[[str], str] = str) -> dict[str, Any]:
    """The whole policy when it makes sense. Raises Invalid with every complaint, in which fields are `called`
    as whoever reads it knows them.
    """
    try:
        return Policy(**policy).model_dump(mode="json")
    except ValidationError as error:
        raise Invalid(
            "; ".join(_complaint(str(one["loc"][0]), one["input"], called) for one in error.errors())
        ) from error


def _complaint(field: str, found: object, called: Callable[[str], str]) -> str:
    if field not in EXPECTED:
        return f"{field!r} is not a part of a routing policy"
    return f"{called(field)} is {found!r}; expected {EXPECTED[field]}"
