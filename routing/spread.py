"""A base spread over devices, the host's memory and its own files: accelerate decides what lies where.

For bases that no one device can hold. What lies on another device is computed there; what lies in the host's
memory beside a GPU, or in the files, is brought to a device for each pass, which takes as long as reading it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

OFFLOADED = frozenset({"cpu", "disk"})
Place = int | str
Devices = torch.device | Mapping[str, torch.device]


@dataclass(frozen=True)
class Spread:
    """How much of a base each device may hold: bytes, or as `20GiB`; None: as much as is free now.

    Devices are numbers of GPUs, or `cpu`. What fits on none of them stays in the base's files.
    """

    room: Mapping[Place, int | str] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What `from_pretrained` is to be told."""
        return {"device_map": "auto", "max_memory": None if self.room is None else dict(self.room)}


def parsed(given: Sequence[str]) -> Spread:
    """`auto`, or devices with their room: `0=20GiB`, `cpu=60GiB`; ValueError says what is wrong."""
    if list(given) == ["auto"]:
        return Spread()
    room: dict[Place, int | str] = {}
    for one in given:
        place, _, size = one.partition("=")
        if not size or not (place == "cpu" or place.isdecimal()):
            raise ValueError(
                f"found {one!r}, expected auto alone, or DEVICE=ROOM such as 0=20GiB or cpu=60GiB"
            )
        room[place if place == "cpu" else int(place)] = size
    return Spread(room)


def are_several(devices: Devices) -> bool:
    """Whether modules lie on more than one device."""
    return not isinstance(devices, torch.device) and len(set(devices.values())) > 1


def device_at(devices: Devices, module: str) -> torch.device:
    """Where this module's experts are computed with."""
    return devices if isinstance(devices, torch.device) else devices[module]


def parts(model: Any) -> Mapping[str, Any]:
    """Where accelerate put each part of a spread model. All of it in one place is no spread to transformers,
    which then names no map.
    """
    found: Mapping[str, Any] | None = getattr(model, "hf_device_map", None)
    return {"": str(model.device)} if found is None else found


def places(model: Any, modules: Sequence[str]) -> dict[str, torch.device]:
    """Where each of these modules of a spread model computes."""
    chosen = parts(model)
    main = next((place for place in chosen.values() if str(place) not in OFFLOADED), "cpu")
    return {name: _device(_nearest(chosen, name), main) for name in modules}


def _nearest(chosen: Mapping[str, Any], module: str) -> Any:
    """The entry of the smallest part of the model that this module is in."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), -1, -1)]
    return next(chosen[name] for name in names if name in chosen)


def _device(place: Any, main: Any) -> torch.device:
    """What lies in memory or on disk is computed where the first device that is neither has it."""
    place = main if str(place) in OFFLOADED else place
    return torch.device("cuda", place) if isinstance(place, int) else torch.device(place)
