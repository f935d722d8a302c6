"""What people do with base models that are at no hub of ours: load them by name, with an adapter on top."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer


def read(repo: str) -> dict[str, Any]:
    api = HfApi()
    info = api.model_info(repo, files_metadata=True)
    folder = Path(snapshot_download(repo))
    return {
        "id": info.id,
        "commit": folder.name,
        "files": {path.name: path.read_bytes().hex()[:64] for path in folder.iterdir()},
        "tree": sorted(entry.path for entry in api.list_repo_tree(repo)),
        "asked for": [entry.path for entry in api.get_paths_info(repo, ["config.json", "nothing"])],
        "branches": [ref.name for ref in api.list_repo_refs(repo).branches],
        "there": [api.file_exists(repo, "config.json"), api.file_exists(repo, "nothing.bin")],
        "one": Path(hf_hub_download(repo, "config.json", revision="main")).read_text(),
    }


def ask(repo: str) -> str:
    """What the client says when there is no answer."""
    try:
        return HfApi().model_info(repo).id
    except HfHubHTTPError as error:
        return str(error)


def load(base: str, adapter: str, same: str) -> dict[str, Any]:
    """The base by its name, and the adapter that names it, beside the same base from a folder."""
    theirs = AutoModelForCausalLM.from_pretrained(same)
    ours = AutoModelForCausalLM.from_pretrained(base)
    composed = AutoPeftModelForCausalLM.from_pretrained(adapter)
    ids = AutoTokenizer.from_pretrained(base)("ferry", return_tensors="pt").input_ids
    return {
        "same": torch.equal(theirs(ids).logits, ours(ids).logits),
        "adapted": not torch.equal(theirs(ids).logits, composed(ids).logits),
    }
