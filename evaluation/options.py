"""What `--model_args` may say: where the composed model is, how it is routed, how the harness runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import AutoTokenizer

from evaluation.served import ServedLM
from evaluation.server import BadServer, Server
from fletch.account import account
from fletch.hub import Hub
from fletch.passes import HubPass
from routing.base import NO_REMOTE_CODE, load_base, local_folder, tokenizer_digest
from routing.checkpoint import load_checkpoint
from routing.composed import ComposedModel, compose
from routing.errors import RoutingError
from routing.neutral import neutral_tokens
from routing.notebook import open_library, read_experts
from routing.routes import Routing, routing_of
from routing.spec import BaseRef
from routing.store import open_store

ROUTING = tuple(field.name for field in fields(Routing))
WHERE = ("checkpoint", "store", "url", "library", "version", "tokenizer", "hub", "pretrained", "adapters")
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
OF_A_SERVER = {"batch_size", "max_batch_size", "max_length"}  # what of that makes sense for one elsewhere
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
    if "url" in where:
        raise BadOptions("url: a server's model is asked by `python -m evaluation.harness` alone")
    expected = "checkpoint, or store and library and perhaps version, or pretrained and adapters"
    raise BadOptions(f"found {sorted(where)}, expected {expected}")


def served(options: Options) -> ServedLM:
    """The library of a running server that the arguments name, as a model of lm_eval's.

    BadOptions if the arguments do not fit a server, BadServer if the server or its base does not fit them,
    CommandError if the `hub` that should hand out passes for it does not.
    """
    where = dict(options.where)
    wanted = {"url", "library", "tokenizer"}
    if not wanted <= where.keys() <= wanted | {"version", "hub"}:
        expected = "url, library and tokenizer, and perhaps version and hub"
        raise BadOptions(f"found {sorted(where)}, expected {expected}")
    if strangers := sorted(options.harness.keys() - OF_A_SERVER):
        raise BadOptions(f"found {', '.join(strangers)}; a server takes {', '.join(sorted(OF_A_SERVER))}")
    library, number = str(where["library"]), where.get("version")
    routed = library if number is None else f"{library}@{number}"
    name = f"{library}/base" if options.base else routed
    hub_pass = HubPass(Hub(account(str(where["hub"]))), library) if "hub" in where else None
    server = Server(str(where["url"]), name, None if options.base else options.said, hub_pass)
    at_once, length = int(options.harness.get("batch_size", 1)), options.harness.get("max_length")
    return ServedLM(
        server, server_tokenizer(server, str(where["tokenizer"])), max_length=length, at_once=at_once
    )


def server_tokenizer(server: Server, source: str) -> Any:
    """The tokenizer at a folder or hub id; BadServer if the server's base has another, or is not causal."""
    folder = local_folder(BaseRef(source))
    found, expected = tokenizer_digest(folder), server.said["tokenizer_digest"]
    if found != expected:
        raise BadServer(f"tokenizer: found {found} in {source}, expected {expected}, the server's base's")
    if server.said["family"] != "causal":
        raise BadServer(
            f"{server.said['base']}: found an encoder-decoder, expected a base that echoes prompts"
        )
    return AutoTokenizer.from_pretrained(folder, **NO_REMOTE_CODE)


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
