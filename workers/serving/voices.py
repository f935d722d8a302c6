"""Who spoke, token by token, in few bytes: each expert and module is named once, and then counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routing.streaming import TextToken
from routing.voices import Voice
from workers.serving.bodies import BRIEF_TRACES
from workers.serving.targets import Target

SHARE_DIGITS = 3
PERCENT = 100


class Voices:
    """What is said of the tokens of one choice. `names` are those of the pack's experts, in its order."""

    def __init__(self, names: Sequence[str], *, by_module: bool) -> None:
        self._names = names
        self._by_module = by_module
        self._places: dict[int, int] = {}  # of experts in the pack -> among those that were named
        self._modules: tuple[str, ...] = ()

    def of(self, tokens: Sequence[TextToken]) -> dict[str, Any]:
        """Lists with a place for each token, and the names that they need and that were not said before."""
        named, modules = len(self._places), self._modules
        said: dict[str, Any] = {"tokens": [], "leading": [], "shares": []}
        if self._by_module:
            said["by_module"] = []
        for token in tokens:
            for name, found in self._of(token).items():
                said[name].append(found)
        if self._modules != modules:
            said["modules"] = list(self._modules)
        return {"experts": [self._names[place] for place in list(self._places)[named:]], **said}

    def _of(self, token: TextToken) -> dict[str, Any]:
        voice = token.voice
        found: dict[str, Any] = {
            "tokens": token.text,
            "leading": None if voice is None else self._place(voice.leading),
            "shares": 0.0 if voice is None else round(voice.share, SHARE_DIGITS),
        }
        if self._by_module:
            found["by_module"] = None if voice is None else self._at_modules(voice)
        return found

    def _at_modules(self, voice: Voice) -> dict[str, Any]:
        """The leading expert of each module and its weight in percent, in the order of `modules`."""
        self._modules = self._modules or voice.modules
        found = dict(zip(voice.modules, zip(voice.experts, voice.weights, strict=True), strict=True))
        chosen = [found.get(name, (None, 0.0)) for name in self._modules]
        return {
            "experts": [self._place(expert) for expert, _ in chosen],
            "weights": [round(PERCENT * weight) for _, weight in chosen],
        }

    def _place(self, expert: int | None) -> int | None:
        """None is the plain base."""
        return None if expert is None else self._places.setdefault(expert, len(self._places))


def voices_of(target: Target, trace: object) -> Voices | None:
    """For one choice, where a request asks for a brief trace of it and experts may speak."""
    if target.version is None or trace not in BRIEF_TRACES:
        return None
    return Voices(target.version.pack.experts, by_module=trace == "modules")
