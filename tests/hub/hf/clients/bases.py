"""What people do with base models that are at no hub of ours (peft_loading loads them)."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError


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
