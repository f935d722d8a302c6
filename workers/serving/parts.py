"""Parts of request bodies: what is in one that should not be there is told, but not all of thousands."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

SAID_STRANGERS = 20  # unknown fields of one part


class Part(BaseModel):
    """A part of a body with known fields alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def few_strangers(cls, given: Any) -> Any:
        """Of many unknown fields the first are refused: to say what is wrong with each of them takes long."""
        if not isinstance(given, dict) or len(given) <= len(cls.model_fields) + SAID_STRANGERS:
            return given
        known = {field.alias or name for name, field in cls.model_fields.items()}
        strangers = [name for name in given if name not in known][:SAID_STRANGERS]
        return {name: value for name, value in given.items() if name in known} | dict.fromkeys(strangers)


def at_most(pairs: int) -> BeforeValidator:
    """Refuses an object of more pairs before any of them is looked at."""

    def counted(given: Any) -> Any:
        if isinstance(given, dict) and len(given) > pairs:
            said = {"found": len(given), "most": pairs}
            raise PydanticCustomError("too_many", "found {found} pairs, expected at most {most}", said)
        return given

    return BeforeValidator(counted)
