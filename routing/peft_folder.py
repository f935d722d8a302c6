"""Writing an adapter as an ordinary PEFT folder: what peft and every hub of LoRAs reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save_file

from routing.adapter import Adapter
from routing.config_document import CONFIG_FILE
from routing.errors import RoutingError
from routing.spec import BaseSpec
from routing.tensor_names import TENSOR_FILE

Value = TypeVar("Value", bound=Hashable)


def write_peft_folder(
    directory: Path, adapter: Adapter, spec: BaseSpec, *, source: str, revision: str | None = None
) -> list[Path]:
    """Write adapter_model.safetensors and adapter_config.json; `source` is what the base is called elsewhere.

    Ranks and scalings may differ between modules: PEFT's patterns say so. Returns the files; RoutingError for
    an adapter without modules, or with updates that are no plain LoRA.
    """
    if len(adapter.low_rank) < max(len(adapter.modules), 1):
        raise RoutingError("adapter: expected a plain LoRA update at every module, and at least one")
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, update in adapter.low_rank.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = update.a.contiguous().cpu()
        tensors[f"base_model.model.{name}.lora_B.weight"] = update.b.contiguous().cpu()
    save_file(tensors, directory / TENSOR_FILE, metadata={"format": "pt"})
    config = json.dumps(_config(adapter, spec, source, revision), indent=2, sort_keys=True)
    (directory / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")
    return [directory / CONFIG_FILE, directory / TENSOR_FILE]


def _config(adapter: Adapter, spec: BaseSpec, source: str, revision: str | None) -> dict[str, Any]:
    ranks = {name: update.rank for name, update in adapter.low_rank.items()}
    alphas = {name: update.scaling * update.rank for name, update in adapter.low_rank.items()}
    rank, alpha = _commonest(ranks.values()), _commonest(alphas.values())
    return {
        "peft_type": "LORA",
        "task_type": spec.task_type,
        "base_model_name_or_path": source,
        "revision": revision,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {name: value for name, value in alphas.items() if value != alpha},
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(adapter.modules),
        "fan_in_fan_out": {spec.module(name).kind for name in adapter.modules} == {"conv1d"},
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _commonest(values: Iterable[Value]) -> Value:
    return Counter(values).most_common(1)[0][0]
