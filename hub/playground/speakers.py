"""Who speaks where in a text: for each layer of the base the mean mixing weight of each expert.

The figure of PHATGOOSE's authors (arXiv 2402.05859, figure 3), for a text that a reader chooses: the serving
process reads it and says of every token and module which experts were chosen, and with which weights.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.errors import NotServed
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.playground import asking

PATH = "/v1/completions"


@dataclass(frozen=True)
class Heard:
    """Mean mixing weights: by expert, then by layer. What is missing to 1 was left to the plain base.

    `layers` are those that any expert touches, from the first to the last.
    """

    version: int
    tokens: int
    layers: Sequence[int]
    weights: Mapping[str, Mapping[int, float]]


def listen(
    text: str, routing: Mapping[str, Any], *, library: Library, visitor: Visitor, address: str
) -> Heard:
    """Have a text read as this routing says. Raises what `asking.once` raises."""
    body = {
        "model": library.slug,
        "prompt": text,
        "max_tokens": 1,
        "temperature": 0,
        "stream": True,
        "routing": {**routing, "trace": True},
    }
    with asking.once(PATH, body, library=library, visitor=visitor, address=address) as lines:
        said = _last_said(lines)
    try:
        return heard(said["trace"], version=int(said["version"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NotServed("The serving process did not say who spoke.") from error


def heard(trace: Mapping[str, Any], *, version: int) -> Heard:
    """A full trace of the serving process, averaged over the tokens and over the modules of each layer."""
    names, tokens = trace["experts"], len(trace["tokens"])
    sums: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    modules: dict[int, int] = defaultdict(int)
    for name, module in trace["modules"].items():
        layer = _layer(name)
        modules[layer] += 1
        for experts, weights in zip(module["experts"], module["weights"], strict=True):
            for expert, weight in zip(experts, weights, strict=True):
                if weight > 0:
                    sums[names[expert]][layer] += weight
    layers = sorted(modules)
    read = max((len(module["experts"]) for module in trace["modules"].values()), default=0)
    means = {
        name: {layer: by_layer[layer] / (modules[layer] * read) for layer in layers}
        for name, by_layer in sums.items()
    }
    return Heard(version, tokens or read, layers, means)


def _layer(module: str) -> int:
    """The first number in a module's dotted name; 0 where it has none."""
    return next((int(part) for part in module.split(".") if part.isdecimal()), 0)


def _last_said(lines: Iterable[str]) -> Mapping[str, Any]:
    """What the last chunk says of library, version and experts."""
    said: Mapping[str, Any] = {}
    for line in lines:
        _, found, document = line.partition("data: ")
        if found and document.startswith("{"):
            said = json.loads(document).get("fletch") or said
    return said
