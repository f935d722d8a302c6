"""The layers below the first one that is trained give the same answer at every step: it is computed once.

What is trained beside a frozen base (gates, a LoRA) changes nothing below its first module. A row's hidden
state there is kept from the first pass, and later passes begin with it. Attention is causal and rows are
padded on the right, so a state depends on the row alone, never on who is in the batch.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from routing.base import Base
from routing.rows import Row

MOST_BYTES = 2**30
IN_A_LAYER = re.compile(r"(?P<layers>[^0-9]*)\.(?P<number>\d+)\.")


@contextlib.contextmanager
def computed_once(base: Base, modules: Collection[str], rows: Sequence[Row]) -> Iterator[int]:
    """Within the block, passes over `rows` begin at the first layer that holds one of `modules`.

    Yields how many layers are left out; none where that would not pay, or take more than `MOST_BYTES`.
    """
    found = _first_changed(base, modules)
    if found is None or _bytes(base, rows) > MOST_BYTES:
        yield 0
        return
    layers, first = found
    kept = _states(base, layers[first], rows)
    current: list[tuple[int, ...]] = []

    def remember(_model: Any, _arguments: Any, named: dict[str, Any]) -> None:
        current[:] = [_key(ids) for ids in named["input_ids"].tolist()]

    def begin(_layer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        states = pad_sequence([kept[key] for key in current], batch_first=True)
        width = arguments[0].shape[1]
        states = nn.functional.pad(states, (0, 0, 0, max(0, width - states.shape[1])))[:, :width]
        return (states.to(arguments[0]), *arguments[1:]), named

    with contextlib.ExitStack() as stack:
        stack.callback(base.model.register_forward_pre_hook(remember, with_kwargs=True).remove)
        stack.callback(layers[first].register_forward_pre_hook(begin, with_kwargs=True).remove)
        for layer in layers[:first]:
            stack.enter_context(_passing(layer))
        yield first


def _first_changed(base: Base, modules: Collection[str]) -> tuple[nn.ModuleList, int] | None:
    """The base's list of layers, and the first that is changed; None if there is nothing below it.

    None also of an encoder-decoder: its encoder looks both ways, and its layers are of two kinds.
    """
    if base.family.name != "causal":
        return None
    places = [IN_A_LAYER.match(name) for name in modules]
    lists = {place["layers"] for place in places if place}
    first = min((int(place["number"]) for place in places if place), default=0)
    if None in places or len(lists) != 1 or first == 0:
        return None
    layers = base.model.get_submodule(lists.pop())
    return (layers, first) if isinstance(layers, nn.ModuleList) else None


@torch.no_grad()
def _states(base: Base, layer: nn.Module, rows: Sequence[Row]) -> dict[tuple[int, ...], Tensor]:
    """By row, what the layer is given; the longest row of those that differ in trailing zeros."""
    found: dict[tuple[int, ...], Float[Tensor, "length width"]] = {}
    seen: list[Tensor] = []
    with contextlib.ExitStack() as stack:
        hook = layer.register_forward_pre_hook(lambda _layer, arguments: seen.append(arguments[0][0]))
        stack.callback(hook.remove)
        for row in rows:
            inputs = base.family.batch(base.model, [row], base.device).inputs
            base.model(**inputs)
            key = _key(inputs["input_ids"][0].tolist())
            if key not in found or len(found[key]) < len(seen[-1]):
                found[key] = seen[-1].clone()
            seen.clear()
    return found


def _key(ids: list[int]) -> tuple[int, ...]:
    """A row without its padding, which is zeros."""
    end = len(ids)
    while end and ids[end - 1] == 0:
        end -= 1
    return tuple(ids[:end])


def _bytes(base: Base, rows: Sequence[Row]) -> int:
    width = base.model.get_input_embeddings().weight.shape[1]
    tokens = sum(len(prompt) + len(completion) for prompt, completion in rows)
    return tokens * width * torch.finfo(base.dtype).bits // 8


@contextlib.contextmanager
def _passing(layer: nn.Module) -> Iterator[None]:
    """Let a layer hand on what it is given: what it would say is known."""
    layer.forward = lambda hidden, *_arguments, **_named: hidden
    try:
        yield
    finally:
        del layer.forward
