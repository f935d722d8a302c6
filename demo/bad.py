"""Make an adapter that the hub must refuse, to show what a rejection looks like."""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from demo.tasks import TASKS

WEIGHTS = "adapter_model.safetensors"


def write_bad_adapter(destination: Path, *, source: Path = TASKS[0].adapter_directory) -> Path:
    """Copy an adapter, put a NaN into its first B and cut a row off its last A; returns `destination`."""
    shutil.copytree(source, destination)
    tensors = load_file(destination / WEIGHTS)
    with_nan = next(name for name in sorted(tensors) if ".lora_B." in name)
    too_short = next(name for name in sorted(tensors, reverse=True) if ".lora_A." in name)
    tensors[with_nan][0, 0] = torch.nan
    tensors[too_short] = tensors[too_short][:-1].contiguous()
    save_file(tensors, destination / WEIGHTS, metadata={"format": "pt"})
    return destination


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("destination", type=Path, help="a folder that does not exist yet")
    print(write_bad_adapter(parser.parse_args().destination))
