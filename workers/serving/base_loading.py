"""Loading the base of a library, where there is room for it."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import AbstractContextManager, nullcontext

from routing.base import Base, load_base, local_folder
from routing.base_size import laid_size_of, size_of
from routing.laid_base import load_laid
from routing.prefixes import Prefixes
from routing.routed import RoutedModel
from routing.spec import BaseRef, BaseSpec
from routing.spread import parts
from routing.store import IndexStore, LibraryRef
from workers.serving.free_memory import free_memory
from workers.serving.layout_lines import laid_in_words
from workers.serving.options import Options
from workers.serving.promises import PROMISES, Found, NotEnoughMemory, Promise, nothing

log = logging.getLogger(__name__)


def load_model(store: IndexStore, ref: LibraryRef, options: Options) -> RoutedModel:
    """A library's base, compared with its specification; RoutingError says what is missing or different.

    NotEnoughMemory, before anything is read, where it is known that it cannot fit.
    """
    spec = store.read_base(ref.base)
    with _room_for(ref.source, spec, options):
        base = _base(ref.source, spec, options)
    model = RoutedModel(base, prefixes=Prefixes(options.limits.prefix_megabytes))
    log.info("%s: answers are read %s", spec.name, "together" if model.reads_together else "one by one")
    log.info("%s: a token of an answer takes %d bytes", spec.name, model.token_bytes)
    return model


def _room_for(ref: BaseRef, spec: BaseSpec, options: Options) -> AbstractContextManager[Promise | None]:
    """Its weights' room until they are read. It goes before answers, as all that is to be live.

    Of a spread base nobody knows what will lie where, and so it is with quantised ones: they are let in.
    """
    if options.spread is not None:
        return nullcontext()
    folder = local_folder(ref)
    if options.device.type == "cpu":
        size = laid_size_of(folder, options.dtype, options.weights)
    else:
        size = size_of(folder, options.dtype)
    if size is None:
        return nullcontext()

    def refusal(found: Found) -> NotEnoughMemory:
        return NotEnoughMemory(
            f"the base {spec.name} needs {size / 2**30:.2f} GiB while it is read, {found}; "
            "--spread leaves parts of it elsewhere"
        )

    return PROMISES.promised(options.device, size, free=free_memory, kept=nothing, refusal=refusal)


def _base(ref: BaseRef, spec: BaseSpec, options: Options) -> Base:
    """With lines in the log that say how its layers lie."""
    if options.spread is None and options.device.type == "cpu":
        base, laid = load_laid(ref, spec, dtype=options.dtype, wanted=options.weights)
        for line in laid_in_words(laid):
            log.info("%s: %s", spec.name, line)
        return base
    base = load_base(ref, spec=spec, device=options.device, dtype=options.dtype, spread=options.spread)
    if base.places is not None:
        log.info("%s: %s", spec.name, _spread(base))
    return base


def _spread(base: Base) -> str:
    """What of a spread base lies where, in words."""
    found = Counter(str(place) for place in parts(base.model).values())
    return "its parts lie " + ", ".join(f"{count} on {place}" for place, count in sorted(found.items()))
