"""Can this base read pieces of many answers in one pass? Its configuration may rule it out; then it is tried.

Architectures differ in what they do around attention (windows, biases, positions that depend on the longest
sequence), and new ones come. So nobody keeps a list of them: what its attention is told of far tokens is held
against what a ragged pass tells it (`routing.attention_trial`), and the base reads two short texts both ways:
with a cache that says how long it is as in serving, and with one that says something else.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from routing.attention_trial import untold
from routing.base import Base
from routing.ragged import ATTENTION, Piece, Strand, Strands, inputs, ragged, register
from routing.rotary import BY_LONGEST

log = logging.getLogger(__name__)
KNOWN_LAYERS = {"full_attention", "sliding_attention"}
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
COARSE = 0.1  # of bfloat16 and float16: the largest logit's part that rounding may move
FIRST, SECOND = (3, 4, 5, 6, 7), (7, 3, 5)


class Claiming(Strands):
    """A cache that claims to remember so many tokens: positions are named, so nobody may ask it.

    Some architectures scale queries by how many there were, from thousands on: no short text shows that.
    """

    def __init__(self, length: int) -> None:
        self._length = length

    def get_seq_length(self, *_: Any) -> int:
        """The claim."""
        return self._length


def reads_ragged(base: Base) -> bool:
    """Whether ragged passes give what passes of one answer give; if not, why not is logged once."""
    reason = _ruled_out(base) or _tried(base)
    if reason:
        log.warning("%s: answers are read one by one, not together: %s", base.spec.name, reason)
    return not reason


def _ruled_out(base: Base) -> str:
    config: Any = base.model.config
    text: Any = config.get_text_config()
    if base.family.name != "causal":
        return "its encoder reads a prompt as a whole"
    if "position_ids" not in inspect.signature(base.model.forward).parameters:
        return "it takes no positions"
    if set(getattr(text, "layer_types", None) or KNOWN_LAYERS) - KNOWN_LAYERS:
        return "some of its layers are not plain attention"
    ropes = getattr(text, "rope_parameters", None) or {}
    each = ropes.values() if all(isinstance(one, dict) for one in ropes.values()) else [ropes]
    if any(rope.get("rope_type") in BY_LONGEST for rope in each):
        return "its positions depend on the longest text of a pass"
    if config._attn_implementation not in ("sdpa", ATTENTION):  # noqa: SLF001 - there is no public way to ask
        return "it does not use torch's attention"
    return ""


@torch.inference_mode()
def _tried(base: Base) -> str:
    model: Any = base.model
    register()
    try:
        if reason := untold(base):
            return reason
        expected = [_alone(base, text) for text in (FIRST, SECOND)]
        model.set_attn_implementation(ATTENTION)
        found = [*_together(base), *_claimed(base), _alone(base, FIRST)]
    except Exception as error:  # noqa: BLE001 - whatever an unknown architecture does, there is the plain way
        model.set_attn_implementation("sdpa")
        return f"{type(error).__name__}: {error}"
    share = TOLERANCE.get(base.dtype, COARSE)
    for want, have in zip([*expected, *expected, expected[0]], found, strict=True):
        off = float((want - have).abs().max())
        if not off <= share * float(want.abs().max()):
            model.set_attn_implementation("sdpa")
            return f"logits differ by {off:.2g} of {float(want.abs().max()):.2g}"
    return ""


def _alone(base: Base, text: tuple[int, ...]) -> Float[Tensor, " vocabulary"]:
    ids = torch.tensor([text], device=base.device) % base.spec.vocabulary
    logits: Tensor = base.model(input_ids=ids, use_cache=False).logits
    return logits[0, -1].float()


def _together(base: Base) -> list[Float[Tensor, " vocabulary"]]:
    """The last logits of both texts, each read in two pieces."""
    strands = [Strand(), Strand()]
    _pass(base, strands, [FIRST[:4], SECOND[:1]])
    logits = _pass(base, strands, [FIRST[4:], SECOND[1:]])
    return [logits[0], logits[-1]]


def _claimed(base: Base) -> list[Float[Tensor, " vocabulary"]]:
    """The same, each read whole, beside a cache that claims to remember almost as much as the base reads."""
    cache = Claiming(base.spec.context - 1)
    logits = _pass(base, [Strand(), Strand()], [FIRST, SECOND], cache)
    return [logits[len(FIRST) - 1], logits[-1]]


def _pass(
    base: Base, strands: list[Strand], texts: list[tuple[int, ...]], cache: Strands | None = None
) -> Float[Tensor, "tokens vocabulary"]:
    positions = [
        place for strand, text in zip(strands, texts, strict=True) for place in _places(strand, text)
    ]
    middle, end = len(texts[0]), len(texts[0]) + len(texts[1])
    pieces = [Piece(strands[0], slice(0, middle)), Piece(strands[1], slice(middle, end))]
    ids = [token % base.spec.vocabulary for text in texts for token in text]
    with ragged(pieces):
        given = inputs(ids, positions, base.device)
        given["past_key_values"] = cache or given["past_key_values"]
        logits: Tensor = base.model(**given).logits
    for piece in pieces:
        piece.keep()
    return logits[0].float()


def _places(strand: Strand, text: tuple[int, ...]) -> range:
    return range(strand.length, strand.length + len(text))
