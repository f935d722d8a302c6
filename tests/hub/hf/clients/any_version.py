"""The whole way with what huggingface_hub has had since 0.x: upload, look, download, delete."""

from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)


def whole_way(repo: str, folder: str, place: str) -> dict[str, Any]:
    api = HfApi()
    seen: dict[str, Any] = {"version": huggingface_hub.__version__, "user": api.whoami()["name"]}
    seen["created"] = api.create_repo(repo, exist_ok=True).repo_id
    api.create_repo(repo, exist_ok=True)
    first = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="The adapter")
    seen["sha"] = api.model_info(repo).sha == first.oid
    operations: list[Any] = [CommitOperationAdd("notes.txt", b"notes"), CommitOperationDelete("README.md")]
    second = api.create_commit(repo, operations, commit_message="Notes", parent_commit=first.oid)
    seen["files"] = sorted(api.list_repo_files(repo))
    info = api.model_info(repo, files_metadata=True)
    seen["sizes"] = {file.rfilename: file.size for file in info.siblings or ()}
    copy = Path(snapshot_download(repo, local_dir=place, revision=second.oid))
    seen["downloaded"] = sorted(path.name for path in copy.iterdir() if path.is_file())
    seen["card"] = Path(hf_hub_download(repo, "README.md", revision=first.oid)).read_text()
    seen["there"] = [
        api.file_exists(repo, "notes.txt"),
        api.repo_exists(repo),
        api.revision_exists(repo, "main"),
    ]
    seen["not there"] = [
        api.file_exists(repo, "README.md"),
        api.repo_exists(repo + "-2"),
        api.revision_exists(repo, "v9"),
    ]
    api.create_tag(repo, tag="v1")
    api.create_branch(repo, branch="try")
    refs = api.list_repo_refs(repo)
    seen["refs"] = [[ref.name for ref in refs.branches], [ref.name for ref in refs.tags]]
    seen["found"] = [found.id for found in api.list_models(author="ada", limit=5)]
    api.delete_repo(repo)
    seen["deleted"] = api.repo_exists(repo)
    return seen


def read(repo: str) -> dict[str, Any]:
    """A base that another hub has."""
    api = HfApi()
    folder = Path(snapshot_download(repo))
    return {
        "id": api.model_info(repo).id,
        "files": {path.name: path.read_bytes().hex()[:64] for path in folder.iterdir()},
        "there": [api.file_exists(repo, "config.json"), api.file_exists(repo, "nothing.bin")],
    }
