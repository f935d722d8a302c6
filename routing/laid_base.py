"""A base for inference on a CPU: its linear layers are laid out, and where that can be read one by one."""

from __future__ import annotations

import torch

from routing.base import Base, base_of, load_model, local_folder, refuse_another_base
from routing.laying_out import AS_SERVED, Laid, lay_out
from routing.layouts import Wanted
from routing.promised import NONE, promised_model
from routing.spec import BaseRef, BaseSpec


def load_laid(
    ref: BaseRef, spec: BaseSpec, *, dtype: torch.dtype = torch.float32, wanted: Wanted = AS_SERVED
) -> tuple[Base, list[Laid]]:
    """The base at `ref`, and what became of its layers, kind by kind.

    In float32 it takes little more memory on the way than in the end. WrongBase, naming the fields, if it is
    not what `spec` pins; UnsupportedBase if it cannot be loaded.
    """
    folder = local_folder(ref)
    refuse_another_base(spec, folder)
    found = promised_model(folder) if dtype == torch.float32 else None
    model, promises = found or (load_model(folder, dtype), NONE)
    base = base_of(ref, folder, spec, model, device=torch.device("cpu"), dtype=dtype)
    return base, lay_out(model, wanted, promises)
