"""How a library routes unless a request says otherwise: the fields of a policy, each with what it may be.

The same fields, with the same defaults, as `RoutingPolicy` in `routing`, which the hub does not import.
"""

from collections.abc import Callable, Iterable, Mapping
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
# As forms call them, for whoever reads what was decided.
CALLED = {
    "router": "router",
    "top_k": "experts per token",
    "temperature": "softness",
    "shortlist": "short list",
    "calibrated": "calibrated scores",
    "abstain": "the base below a score of",
    "prior": "prompt judged by",
    "prior_weight": "weight of the prompt",
    "prior_abstain": "the base where the prompt is nobody\N{RIGHT SINGLE QUOTATION MARK}s",
    "general": "general knowledge",
    "subtract": "general knowledge subtracted",
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


PLAIN = Policy().model_dump(mode="json")
# What is said of a policy only where it is not plain.
ADDED = ("temperature", "calibrated", "abstain", "prior_weight", "prior_abstain", "general", "subtract")


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


def fields_in_words(policy: Mapping[str, Any], fields: Iterable[str]) -> str:
    """These fields of a policy, each with its value."""
    return ", ".join(f"{CALLED[name]}: {_value(policy.get(name))}" for name in fields)


def in_words(policy: Mapping[str, Any]) -> str:
    """How a library routes; what changes nothing is not said."""
    whole = {**PLAIN, **policy}
    many = whole["top_k"]
    said = [whole["router"], f"{many} {'expert' if many == 1 else 'experts'} per token"]
    if whole["shortlist"]:
        said.append(f"{CALLED['shortlist']} of {whole['shortlist']}")
    if whole["shortlist"] or whole["prior_weight"] or whole["prior_abstain"]:
        said.append(f"{CALLED['prior']} {whole['prior']}")
    others = [name for name in ADDED if whole[name] != PLAIN[name]]
    said += [
        CALLED[name] if whole[name] is True else f"{CALLED[name]} {_value(whole[name])}" for name in others
    ]
    return ", ".join(said)


def _value(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None | [] | ():
            return "none"
        case list() | tuple():
            return " and ".join(str(one) for one in value)
        case _:
            return str(value)


def _complaint(field: str, found: object, called: Callable[[str], str]) -> str:
    if field not in EXPECTED:
        return f"{field!r} is not a part of a routing policy"
    return f"{called(field)} is {found!r}; expected {EXPECTED[field]}"
