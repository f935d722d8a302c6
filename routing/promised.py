"""A base's model whose matrices stay in its 16-bit files until they are wanted, one by one.

transformers widens all of them while it loads, so that a base lies in memory at twice its files' width before
its layers are laid out. Here it gets in place of each matrix a tensor of that shape which has no memory: a
single number, seen at every place. All else it reads and makes in float32 as ever, and wherever it put one of
these tensors the file's matrix belongs. So names are asked for what to try, and never for where it belongs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig

from routing.base import LOADING_FAILS, NO_REMOTE_CODE
from routing.errors import UnsupportedBase
from routing.family import family_of
from routing.panels import half_of

log = logging.getLogger(__name__)
HALVES = {"BF16": torch.bfloat16, "F16": torch.float16}  # as safetensors names them
PART = 2**22  # numbers that are widened at once
ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
# Not mapped: pages of a mapped file would count as this process's memory.
AS_IT_IS: Mapping[str, str] = {"backend": "pread"}


class Amiss(Exception):
    """Why a model cannot be read so."""


@dataclass(frozen=True)
class Matrix:
    """One of a file's, whose numbers are of half the width."""

    file: Path
    name: str
    dtype: torch.dtype
    shape: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Of the file."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def read(self, room: Tensor | None = None) -> Float[Tensor, "rows columns"]:
        """In float32, in this room if any; UnsupportedBase if the file is not there any more."""
        rows, columns = self.shape
        matrix = torch.empty(rows, columns) if room is None else room.view(rows, columns)
        step = max(1, PART // max(1, columns))
        try:
            with safe_open(self.file, framework="pt", **AS_IT_IS) as opened:
                stored = opened.get_slice(self.name)
                for first in range(0, rows, step):
                    end = min(first + step, rows)  # beyond which safetensors does not slice
                    matrix[first:end] = stored[first:end]
        except (OSError, SafetensorError) as error:
            raise UnsupportedBase(f"{self.file}: {self.name} cannot be read any more: {error}") from error
        return matrix


class Promises:
    """Tensors without memory that stand for matrices which are not read yet."""

    def __init__(self, matrices: Sequence[Matrix] = ()) -> None:
        # No numbers: no two of them are equal, and what is made of one shows. Addresses say which is which.
        self._numbers = torch.full((len(matrices),), torch.nan)
        self.tensors = {
            matrix.name: number.expand(matrix.shape)
            for matrix, number in zip(matrices, self._numbers, strict=True)
        }
        self._matrices = {self.tensors[matrix.name].data_ptr(): matrix for matrix in matrices}

    def of(self, weight: Tensor) -> Matrix | None:
        """What this tensor stands for; None: it is what it is."""
        return self._matrices.get(weight.data_ptr())

    def half_of(self, weight: Tensor) -> torch.dtype | None:
        """The narrower kind of number that all of a weight's are, read or not."""
        matrix = self.of(weight)
        return half_of(weight) if matrix is None else matrix.dtype

    def keep(self, weights: Iterable[nn.Parameter]) -> None:
        """Read what these stand for, in float32, for all of the model that shares them."""
        for weight in weights:
            if (matrix := self.of(weight)) is not None:
                weight.data = matrix.read()

    @contextmanager
    def lent(self, weight: nn.Parameter, room: Tensor) -> Iterator[None]:
        """For so long what the weight stands for, if anything, lies in this room, which is as large."""
        matrix, before = self.of(weight), weight.data
        if matrix is not None:
            weight.data = matrix.read(room)
        try:
            yield
        finally:
            weight.data = before

    def unread(self, weights: Iterable[Tensor]) -> list[Matrix]:
        """What of these is still in its file."""
        return [matrix for weight in weights if (matrix := self.of(weight)) is not None]


NONE = Promises()


def promised_model(folder: Path) -> tuple[Any, Promises] | None:
    """The model in float32 with its matrices promised.

    None where no file has such or, with a line in the log, where transformers makes something else of them.
    """
    try:
        return _promised(folder)
    except (*LOADING_FAILS, SafetensorError, Amiss) as error:
        log.warning("%s: its weights are read in float32 all at once, not one by one: %s", folder, error)
        return None


def _promised(folder: Path) -> tuple[Any, Promises] | None:
    skeleton, config = skeleton_in(folder)
    files = _files(folder, config)
    promises = Promises(_matrices(files, skeleton))
    if not promises.tensors:
        return None
    model, info = type(skeleton).from_pretrained(
        None,
        config=config if isinstance(config, skeleton.config_class) else config.get_text_config(),
        state_dict={**_others(files, promises.tensors), **promises.tensors},
        dtype=torch.float32,
        output_loading_info=True,
        **NO_REMOTE_CODE,
    )
    _compare(model, skeleton, info, promises)
    _name(model, folder)
    return model, promises


def skeleton_in(folder: Path) -> tuple[Any, Any]:
    """The model in this folder without its weights, and its configuration; Amiss if it is quantised."""
    config = AutoConfig.from_pretrained(folder, **NO_REMOTE_CODE)
    if getattr(config, "quantization_config", None) is not None:
        raise Amiss("they are quantised")
    with torch.device("meta"):
        skeleton = family_of(config).loader.from_config(config, dtype=torch.float32, trust_remote_code=False)
    return skeleton, config


def matrices_in(folder: Path) -> tuple[Any, list[Matrix]]:
    """The model in this folder without its weights, and those of them that would be promised."""
    skeleton, config = skeleton_in(folder)
    return skeleton, _matrices(_files(folder, config), skeleton)


def _files(folder: Path, config: Any) -> list[Path]:
    """Those that transformers reads of this folder."""
    if getattr(config, "transformers_weights", None) or config.extra_files:
        raise Amiss("they lie in files of other names")
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    index = json.loads((folder / INDEX).read_text())
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def _matrices(files: Sequence[Path], skeleton: Any) -> list[Matrix]:
    """Those of half the width that the model has, except where transformers asks whether several are one."""
    shapes = {name: tuple(weight.shape) for name, weight in skeleton.named_parameters(remove_duplicate=False)}
    found: dict[str, Matrix] = {}  # by the model's names, which have a prefix where files are of its body
    for file in files:
        with safe_open(file, framework="pt", **AS_IT_IS) as opened:
            for name in opened.keys():  # noqa: SIM118 - a file is no mapping
                stored = opened.get_slice(name)
                shape, dtype = tuple(stored.get_shape()), HALVES.get(stored.get_dtype())
                inside = name if name in shapes else f"{skeleton.base_model_prefix}.{name}"
                if dtype is not None and len(shape) == 2 and shapes.get(inside) == shape:  # noqa: PLR2004
                    found[inside] = Matrix(file, name, dtype, shape)
    tied = skeleton.all_tied_weights_keys
    for source in set(tied.values()):
        same = [name for name in found if name == source or tied.get(name) == source]
        if len(same) > 1:
            for name in same:
                del found[name]
    return list(found.values())


def _others(files: Sequence[Path], promised: Container[str]) -> dict[str, Tensor]:
    """What of these files is read now."""
    found: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt", **AS_IT_IS) as opened:
            names = [name for name in opened.keys() if name not in promised]  # noqa: SIM118
            found |= {name: opened.get_tensor(name) for name in names}
    return found


def _compare(model: Any, skeleton: Any, info: Mapping[str, Any], promises: Promises) -> None:
    """Amiss where transformers may have made something else of what it was given than of numbers."""
    if wrong := {what: found for what, found in info.items() if found and what != "unexpected_keys"}:
        raise Amiss(f"transformers found {wrong}")
    untied = skeleton.all_tied_weights_keys.keys() - model.all_tied_weights_keys.keys()
    if promises.unread(model.get_parameter(name) for name in untied):
        raise Amiss(f"{sorted(untied)} were compared with others")
    there = {matrix.name for matrix in promises.unread(model.parameters())}
    if lost := sorted(promises.tensors.keys() - there):
        raise Amiss(f"found nowhere in the model: {lost}")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        matrix = promises.of(tensor)
        if matrix is None and tensor.is_floating_point() and tensor.isnan().any():
            raise Amiss(f"{name} has what is no number")
        if matrix is not None and (tuple(tensor.shape), tensor.stride()) != (matrix.shape, (0, 0)):
            raise Amiss(f"{name} is {matrix.name} in another shape")


def _name(model: Any, folder: Path) -> None:
    """What `from_pretrained` says of where a model is from, and reads beside its weights."""
    model.config.name_or_path = str(folder)
    model.adjust_generation_fn(
        generation_config=None,
        from_auto_class=True,
        from_pipeline=None,
        pretrained_model_name_or_path=str(folder),
        cache_dir=None,
        force_download=False,
        proxies=None,
        token=None,
        revision=None,
        subfolder="",
        **NO_REMOTE_CODE,
    )
