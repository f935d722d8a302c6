"""`python -m evaluation.harness ...`: lm_eval's own command line, in which `--model fletch` is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval.__main__ import cli_evaluate
from lm_eval.api.model import LM
from lm_eval.api.registry import model_registry
from lm_eval.utils import simple_parse_args_string

from evaluation.model import ComposedLM
from evaluation.options import load, parse, routing, served

NAME = "fletch"


def open_lm(arguments: Mapping[str, Any]) -> LM:
    """The model that these arguments name; BadOptions or another RoutingError says what is wrong."""
    options = parse(arguments)
    if "url" in options.where:
        return served(options)
    model = load(options)
    return ComposedLM(model, routing(model, options), **options.harness)


class Fletch(LM):
    """What the registry holds: never an instance, only the way from arguments to the model that they name."""

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> LM:
        """From `--model_args checkpoint=FOLDER,router=arrow`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> LM:
        """From a dictionary of the same arguments."""
        return open_lm({**arg_dict, **(additional_config or {})})


def register() -> None:
    """Make `fletch` one of lm_eval's models, in this process."""
    if NAME not in model_registry:
        model_registry.register(NAME, target=Fletch)


if __name__ == "__main__":
    register()
    cli_evaluate()
