"""A graph without a GPU: what a step does to tensors is written down, and done again from the same addresses.

As with a CUDA graph the Python around it does not run again, and whatever a step asks of the host is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import InterpretedFunction

from routing.graphs import Made

ASKS_THE_HOST = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default}


class HostWasAsked(Exception):
    """What a GPU would refuse while it captures."""


class Kernel:
    """What is launched as a kernel is, and asks no host: plain Python in the place of one, which is sooner done."""

    def __init__(self, work: Callable[..., None]) -> None:
        self.work = work

    def run(self, *args: Any) -> None:
        self.work(*args)


class TensorRecorder:
    """A recorder for the processor; kernels run in Triton's interpreter."""

    def __init__(self, _device: torch.device) -> None:
        self.size = 0

    def record(self, step: Callable[[], Made]) -> tuple[Callable[[], None], Made]:
        step()  # as on a GPU: what is worked out once and kept is there then
        tape = _Tape()
        with tape.kernels(), tape:
            made = step()
        self.size += 1000
        return tape.replay, made


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._done: list[Callable[[], None]] = []
        self._in_kernel = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if function in ASKS_THE_HOST and not self._in_kernel:
            raise HostWasAsked(function)
        found = function(*args, **named)
        if not self._in_kernel:
            self._done.append(lambda: _again(function, args, named, found))
        return found

    @contextmanager
    def kernels(self) -> Iterator[None]:
        def noted(launch: Callable[..., None]) -> Callable[..., None]:
            def launched(kernel: Any, *args: Any, **fixed: Any) -> None:
                self._in_kernel = True
                try:
                    launch(kernel, *args, **fixed)
                finally:
                    self._in_kernel = False
                self._done.append(lambda: launch(kernel, *args, **fixed))

            return launched

        with (
            patch.object(InterpretedFunction, "run", noted(InterpretedFunction.run)),
            patch.object(Kernel, "run", noted(Kernel.run)),
        ):
            yield

    def replay(self) -> None:
        for one in self._done:
            one()


def _again(function: Any, args: Any, kwargs: dict[str, Any], found: Any) -> None:
    """The same operation, into the tensors that it made the first time."""
    given = {id(one) for one in tree_leaves((args, kwargs))}
    for before, now in zip(tree_leaves(found), tree_leaves(function(*args, **kwargs)), strict=True):
        if (
            isinstance(before, torch.Tensor)
            and id(before) not in given
            and before.data_ptr() != now.data_ptr()
        ):
            before.copy_(now)
