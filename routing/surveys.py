"""Surveys: prompts pass through the plain base, and what each module with experts is given is looked at."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.pack import ModulePack, Pack
from routing.routed import RoutedModel
from routing.routers import Selection, Terms
from routing.routes import Route, Routing, Seat, route

ROWS_AT_ONCE = 8  # of text: bounds the scores that are held at a time
Look = Callable[[str, Float[Tensor, "tokens d_in"], ModulePack], None]


class Survey:
    """A way through a pack that adds nothing: the pass is the plain base's, and every input is seen."""

    def __init__(self, pack: Pack, look: Look) -> None:
        seats = route(pack, Routing("arrow", top_k=1)).seats
        self._given: list[Tensor] = []
        self.route = Route(pack, partial(_keep, self._given), seats)
        self._look = look

    def witness(self, seat: Seat, module: str, _selection: Selection) -> None:
        """Show what the router was just given, under the name of the module where it was given."""
        if self._given:
            self._look(module, self._given[-1], seat.module)


def _keep(
    given: list[Tensor], hidden: Float[Tensor, "tokens d_in"], _module: ModulePack, _terms: Terms
) -> Selection:
    """As a router does, which chooses nobody. A method would keep the survey, and the pack, in a circle."""
    given[:] = [hidden]
    nobody = torch.zeros(len(hidden), 0, device=hidden.device)
    return Selection(nobody.long(), nobody)


def survey(model: RoutedModel, pack: Pack, tokens: Int[Tensor, "sequences length"], look: Look) -> None:
    """Pass prompts through the plain base and let `look` see what each module with experts is given."""
    for rows in tokens.split(ROWS_AT_ONCE):
        passage = Survey(pack, look)
        ids = rows.to(device=model.base.device, dtype=torch.int64)
        model.last_logits(ids, route=passage.route, witness=passage.witness)


def survey_neutral(model: RoutedModel, pack: Pack, text: Int[Tensor, "sequences length"], look: Look) -> None:
    """As `survey`, of text that reaches every module alike: also an encoder-decoder's decoder reads some."""
    for rows in text.split(ROWS_AT_ONCE):
        passage = Survey(pack, look)
        ids = rows.to(device=model.base.device, dtype=torch.int64)
        inputs = model.base.family.neutral(model.base.model, ids)
        model.run(inputs, route=passage.route, witness=passage.witness)
