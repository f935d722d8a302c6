"""What `--model_args` may say: where the composed model is, how it is routed, how the harness runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from routing.base import load_base
from routing.checkpoint import load_checkpoint
from routing.composed import ComposedModel, compose
from routing.errors import RoutingError
from routing.neutral import neutral_tokens
from routing.notebook import open_library, read_experts
from routing.routes import Routing, routing_of
from routing.spec import BaseRef
from routing.store import open_store

ROUTING = tuple(field.name for field in fields(Routing))
WHERE = ("checkpoint", "store", "library", "version", "pretrained", "adapters")
HARNESS = (  # of lm_eval's own Hugging Face model, what makes sense for one that is in memory already
    "add_bos_token",
    "batch_size",
    "chat_template_args",
    "enable_thinking",
    "logits_cache",
    "max_batch_size",
    "max_length",
    "prefix_token_id",
    "softmax_dtype",
    "think_end_token",
    "truncation",
)
BETWEEN_EXPERTS = "+"  # a comma ends an argument of lm_eval's


class BadOptions(RoutingError):
    """The arguments name no model, or say something that nobody would hear."""


@dataclass(frozen=True)
class Options:
    """Parsed arguments: `said` about routing, `harness` for lm_eval; `base` asks for the plain base."""

    where: Mapping[str, Any]
    said: Mapping[str, Any]
    harness: Mapping[str, Any]
    base: bool
    device: torch.device
    dtype: torch.dtype


def parse(arguments: Mapping[str, Any]) -> Options:
    """Sort the arguments by whom they are for; BadOptions names those that nobody knows."""
    given = {name: value for name, value in arguments.items() if value is not None}
    device, dtype = given.pop("device", None), str(given.pop("dtype", "float32"))
    base = bool(given.pop("base", False))
    known = {*ROUTING, *WHERE, *HARNESS}
    if unknown := sorted(given.keys() - known):
        raise BadOptions(f"found {', '.join(unknown)}; expected some of {', '.join(sorted(known))}, base")
    if not hasattr(torch, dtype):
        raise BadOptions(f"dtype: found {dtype}, expected float32, bfloat16 or float16")
    return Options(
        where={name: given[name] for name in WHERE if name in given},
        said=_routing(given),
        harness={name: given[name] for name in HARNESS if name in given},
        base=base,
        device=torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")),
        dtype=getattr(torch, dtype),
    )


def load(options: Options) -> ComposedModel:
    """The composed model that the arguments name; BadOptions if they name none or two."""
    where, device, dtype = options.where, options.device, options.dtype
    if where.keys() == {"checkpoint"}:
        return load_checkpoint(str(where["checkpoint"]), device=device, dtype=dtype)
    if where.keys() in ({"store", "library"}, {"store", "library", "version"}):
        store, library = open_store(str(where["store"])), str(where["library"])
        return open_library(store, library, version=where.get("version"), device=device, dtype=dtype)
    if where.keys() == {"pretrained", "adapters"}:
        base = load_base(BaseRef(str(where["pretrained"])), device=device, dtype=dtype)
        return compose(base, read_experts(str(where["adapters"]), base), neutral=neutral_tokens(base))
    expected = "checkpoint, or store and library and perhaps version, or pretrained and adapters"
    raise BadOptions(f"found {sorted(where)}, expected {expected}")


def routing(model: ComposedModel, options: Options) -> Routing | None:
    """How all prompts are routed: the library's policy with what was said in its place; None is the base."""
    return None if options.base else routing_of(model.policy, **options.said)


def _routing(given: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: given[name] for name in ROUTING if name in given}
    experts = said.get("experts")
    if isinstance(experts, str):
        said["experts"] = tuple(experts.split(BETWEEN_EXPERTS))
    elif experts is not None:
        said["experts"] = tuple(experts)
    return said
