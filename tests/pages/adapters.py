"""Adapters as peft would save them for the base of `content.spec`, small enough to be dropped onto a page."""

import hashlib
import json
import struct
from pathlib import Path

from tests.pages import content

CARD = "---\nlicense: mit\ntags: [verse]\n---\n# Verses\n\nWrites *verses*.\n"


def files(seed: object, *, width: int = 576, rank: int = 2, **config: object) -> dict[str, bytes]:
    """A LoRA on every q_proj; with another width than the base's it fits nowhere."""
    names = [module["name"] for module in content.spec()["target_modules"] if "q_proj" in module["name"]]
    shapes = {
        f"base_model.model.{name}.{part}.weight": shape
        for name in names
        for part, shape in (("lora_A", [rank, width]), ("lora_B", [576, rank]))
    }
    said = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "someone/demo-base",
        "r": rank,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        **config,
    }
    return {
        "README.md": CARD.encode(),
        "adapter_config.json": json.dumps(said, indent=2).encode(),
        "adapter_model.safetensors": _safetensors(shapes, seed),
    }


def _safetensors(shapes: dict[str, list[int]], seed: object) -> bytes:
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + hashlib.shake_128(str(seed).encode()).digest(end)


def saved(folder: Path, seed: object, **options: object) -> Path:
    """The same in a folder, beside what a training leaves there."""
    for path, data in files(seed, **options).items():  # type: ignore[arg-type]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder
