"""An index version's memory outlives its last user by as little as it takes to free it in small steps."""

from __future__ import annotations

import gc
import time
import weakref
from dataclasses import replace

import torch

from routing.excerpts import with_excerpt
from routing.pack import Pack, Update, pack_updates
from workers.serving.retiring import Retiring

MODULES = 5


def a_pack() -> Pack:
    update = Update(torch.ones(4), torch.ones(2, 4), torch.ones(2, 3))
    return Pack(("ada/plain",), pack_updates([{f"layer{number}": update for number in range(MODULES)}]))


def alive(modules: list[weakref.ref[object]]) -> int:
    gc.collect()
    return sum(module() is not None for module in modules)


def test_modules_are_kept_past_their_last_user_and_then_let_go() -> None:
    retiring, pack = Retiring(), a_pack()
    modules: list[weakref.ref[object]] = [weakref.ref(module) for module in pack.modules.values()]
    retiring.after_use(pack)

    del pack
    kept = alive(modules)
    retiring.start()
    retiring.stop()

    assert kept == MODULES
    assert alive(modules) == 0


def test_what_is_in_use_stays() -> None:
    retiring, pack = Retiring(), a_pack()
    retiring.after_use(pack)
    retiring.start()

    time.sleep(0.05)
    retiring.stop()

    assert len(pack.modules) == MODULES
    assert all(module.a.shape == (2, 4) for module in pack.modules.values())


def test_who_needs_the_memory_of_what_went_before_can_wait_for_it() -> None:
    retiring, pack = Retiring(), a_pack()
    modules: list[weakref.ref[object]] = [weakref.ref(module) for module in pack.modules.values()]
    retiring.after_use(pack)
    retiring.start()

    del pack
    retiring.catch_up(30.0)
    left = alive(modules)
    retiring.stop()
    retiring.catch_up(30.0)  # nobody works any more: there is nothing to wait for

    assert left == 0


def test_an_excerpt_is_let_go_as_its_version_is() -> None:
    whole = a_pack()
    retiring, pack = Retiring(), with_excerpt(replace(whole, modules={}), whole.modules, 2, scattered=False)
    modules: list[weakref.ref[object]] = [weakref.ref(module) for module in pack.judging.modules.values()]
    retiring.after_use(pack)

    del pack, whole
    kept = alive(modules)
    retiring.start()
    retiring.stop()

    assert kept == MODULES
    assert alive(modules) == 0
