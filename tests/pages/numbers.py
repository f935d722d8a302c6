"""Weights that nobody trained, and fingerprints that nobody computed, in the form of real ones."""

import hashlib
import json
import random
from array import array
from typing import Any


def weights(seed: object, *, layers: int = 2, rank: int = 8) -> bytes:
    """A safetensors file of a few tensors, with numbers that nobody trained."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for layer in range(layers):
        for half, shape in (("lora_A", [rank, 576]), ("lora_B", [576, rank])):
            begin, end = end, end + 4 * shape[0] * shape[1]
            name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.{half}.weight"
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    said = json.dumps(header).encode()
    numbers = hashlib.sha256(str(seed).encode()).digest() * (end // 32)
    return len(said).to_bytes(8, "little") + said + numbers


def fingerprint(name: str, number: int) -> bytes:
    """Those of one adapter's releases are alike."""
    common, own = random.Random(name), random.Random(f"{name} {number}")
    return array("f", [common.gauss() + 0.5 * own.gauss() for _ in range(1024)]).tobytes()
