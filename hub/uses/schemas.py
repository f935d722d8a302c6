"""What serving processes report of an index version: by module, how many tokens passed it, and how many of
them chose each expert.
"""

from datetime import date
from typing import Annotated, Literal, Self

from ninja import Schema
from pydantic import ConfigDict, Field, StringConstraints, model_validator

MOST_MODULES = 5_000
MOST_EXPERTS = 10_000
MOST_NUMBERS = 1_000_000
Count = Annotated[int, Field(ge=0, le=2**40)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]


class ReportIn(Schema):
    """A serving process numbers its reports 1, 2, 3 ...; one that was added up already changes nothing."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    instance: str = Field(pattern=r"^[0-9a-f]{32}$")
    number: int = Field(ge=1, le=2**53)
    day: date
    library: Name
    version: int = Field(ge=1, le=2_000_000_000)
    manifest: str = Field(pattern=r"^[0-9a-f]{64}$")
    modules: list[Name] = Field(min_length=1, max_length=MOST_MODULES)
    tokens: list[Count]
    hits: dict[Name, list[Count]] = Field(max_length=MOST_EXPERTS)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len(self.modules) * (len(self.hits) + 1) > MOST_NUMBERS:
            raise ValueError(f"expected at most {MOST_NUMBERS} numbers; report fewer experts at once")
        if len(set(self.modules)) != len(self.modules):
            raise ValueError("modules: expected each once")
        if len(self.tokens) != len(self.modules):
            raise ValueError(f"tokens: found {len(self.tokens)}, expected one for each of the modules")
        for name, hits in self.hits.items():
            if len(hits) != len(self.modules):
                raise ValueError(f"hits.{name}: found {len(hits)}, expected one for each of the modules")
            if any(one > of for one, of in zip(hits, self.tokens, strict=True)):
                raise ValueError(f"hits.{name}: expected no more than the tokens that passed a module")
        return self


class Taken(Schema):
    """`added` is false where this report had been added up before."""

    added: bool
