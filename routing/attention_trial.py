"""Does a ragged pass tell a base's attention all that the base itself tells it?

Ragged passes hand on no masks: each token sees its own text up to itself, or back to the window that a layer
names as it calls attention. Some architectures keep a window, or chunks, in the mask alone, and a short text
shows nothing of it. So a base reads two tokens while masks are asked for what tokens far behind would see, at
the price of a row and not of a long text, and every layer's mask is held against what the layer says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from routing.base import Base

WATCHED = "fletch_watched"
SHOWN = (0.0, 0.5, 1.0)  # first, middle and last token of the context: causal, and as far back as can be
TEXT = (3, 4)
PLAIN = {"position_ids", "cache_position"}  # tensors that attention is given and that change nothing

Rows = Bool[Tensor, "shown context"]


@dataclass
class Watch:
    """What came of a pass: how many layers asked for attention, and what was wrong, first thing first."""

    context: int
    layers: int = 0
    wrong: list[str] = field(default_factory=list)
    _compared: dict[tuple[int, bool, int | None], tuple[Tensor | None, str]] = field(default_factory=dict)

    def compare(self, mask: Tensor | None, causal: bool, window: int | None) -> str:  # noqa: FBT001
        """What `_unlike` says, worked out once for all layers that are told the same."""
        told = (id(mask), causal, window)
        if told not in self._compared:  # with the mask, so that no other has its id
            self._compared[told] = mask, _unlike(mask, causal, window, self)
        return self._compared[told][1]

    @property
    def tokens(self) -> list[int]:
        """The places whose views are compared."""
        return [int(share * (self.context - 1)) for share in SHOWN]


_WATCH: ContextVar[Watch] = ContextVar("watch")


def untold(base: Base) -> str:
    """What this base's attention does that a ragged pass would not; empty where there is nothing.

    Whatever transformers raises for an attention or a mask that it does not know is raised here too.
    """
    watch = Watch(base.spec.context)
    ids = torch.tensor([TEXT], device=base.device) % base.spec.vocabulary
    with _watched(base.model, watch):
        base.model(input_ids=ids, use_cache=False)
    if not watch.layers:
        return "its attention is not transformers' own"
    return watch.wrong[0] if watch.wrong else ""


@contextmanager
def _watched(model: Any, watch: Watch) -> Iterator[None]:
    from transformers import AttentionInterface, AttentionMaskInterface  # noqa: PLC0415 - slow to load

    AttentionInterface.register(WATCHED, _attention)
    AttentionMaskInterface.register(WATCHED, _mask)
    before, token = model.config._attn_implementation, _WATCH.set(watch)  # noqa: SLF001 - nothing public tells it
    try:
        model.set_attn_implementation(WATCHED)
        yield
    finally:
        model.set_attn_implementation(before)
        _WATCH.reset(token)


def _mask(
    *, mask_function: Callable[..., Any], use_vmap: bool = False, device: Any = "cpu", **_: Any
) -> Bool[Tensor, "1 1 shown context"]:
    """In place of the mask of the two tokens that are read: what the shown tokens would see of a context."""
    from transformers.masking_utils import sdpa_mask  # noqa: PLC0415

    watch = _WATCH.get()
    rows: list[Any] = [
        sdpa_mask(
            batch_size=1,
            q_length=1,
            kv_length=watch.context,
            q_offset=place,
            mask_function=mask_function,
            allow_is_causal_skip=False,
            use_vmap=use_vmap,
            device=device,
        )
        for place in watch.tokens
    ]
    return torch.cat(rows, dim=2)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attention that looks at what it is called with; what it answers matters to nobody."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: PLC0415

    watch = _WATCH.get()
    watch.layers += 1
    wrong = _unheard(rest) or watch.compare(attention_mask, _causal(module, rest), sliding_window)
    if wrong:
        watch.wrong.append(wrong)
    output, _ = sdpa_attention_forward(module, query, key, value, None, scaling=scaling)
    return output, None


def _unheard(rest: dict[str, Any]) -> str:
    told = sorted(name for name, given in rest.items() if isinstance(given, Tensor) and name not in PLAIN)
    return f"its attention is also given {', '.join(told)}" if told else ""


def _causal(module: Any, rest: dict[str, Any]) -> bool:
    """Whether torch's attention would be causal here without a mask, as transformers calls it."""
    told = rest.get("is_causal")
    return bool(getattr(module, "is_causal", True) if told is None else told)


def _unlike(mask: Tensor | None, causal: bool, window: int | None, watch: Watch) -> str:  # noqa: FBT001
    """Where a mask does not show what a ragged pass does: plain causality, and this window."""
    shape = (1, 1, len(SHOWN), watch.context)
    if mask is not None and (tuple(mask.shape) != shape or mask.dtype != torch.bool):
        return "it makes masks of its own"
    device = "cpu" if mask is None else mask.device
    own = torch.tensor(watch.tokens, device=device).unsqueeze(1)
    other = torch.arange(watch.context, device=device)
    before = other <= own
    ours: Rows = before if window is None else before & (other > own - window)
    unmasked = before if causal else torch.ones_like(before)
    theirs: Rows = unmasked if mask is None else mask[0, 0]
    if torch.equal(ours, theirs):
        return ""
    reach = f"a window of {window} tokens" if window is not None else "everything before them"
    seen = f"{int(theirs[-1].sum())} of the {watch.context} up to the last"
    return f"a layer names {reach}, but by its mask tokens see something else ({seen})"
