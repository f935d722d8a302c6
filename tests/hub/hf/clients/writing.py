"""What people do with huggingface_hub to make repositories and to upload."""

import io
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    ModelCard,
)
from huggingface_hub.errors import HfHubHTTPError


def upload_folder(repo: str, folder: str) -> str:
    return str(HfApi().upload_folder(repo_id=repo, folder_path=folder).oid)


def upload_streams(repo: str, folder: str) -> str:
    """Streams are never sent by Xet."""
    api = HfApi()
    api.create_repo(repo)
    streams = {path.name: io.BytesIO(path.read_bytes()) for path in Path(folder).iterdir()}
    operations = [CommitOperationAdd(name, stream) for name, stream in streams.items()]
    return _commit(api, repo, operations)


def lifecycle(repo: str, folder: str) -> dict[str, Any]:
    """A repository from its first day to its last."""
    api, seen = HfApi(), dict[str, Any]()
    api.create_repo(repo + "-draft")
    api.move_repo(repo + "-draft", repo + "-named")
    seen["renamed"] = [api.repo_exists(repo + "-draft"), api.model_info(repo + "-named").id]
    api.delete_repo(repo + "-named")
    seen["created"] = api.create_repo(repo).repo_id
    seen["again"] = _refused(lambda: api.create_repo(repo))
    seen["empty"] = [api.model_info(repo).siblings, api.list_repo_files(repo)]
    first = api.model_info(repo).sha
    ModelCard("---\nlicense: mit\n---\n# Mine\n").push_to_hub(repo)
    seen["card"] = api.list_repo_files(repo)
    api.upload_folder(
        repo_id=repo, folder_path=folder, commit_message="The adapter", commit_description="Trained"
    )
    second = api.model_info(repo).sha
    seen["same again"] = api.upload_folder(repo_id=repo, folder_path=folder).oid == second
    seen["stale"] = _refused(lambda: _commit(api, repo, [_add("a.txt")], parent_commit=first))
    third = _commit(
        api,
        repo,
        [_add("notes/a.txt"), _add("notes/b.txt"), CommitOperationDelete("notes/a.txt"), _add("README.md")],
        parent_commit=second,
    )
    seen["files"] = sorted(api.list_repo_files(repo))
    _commit(api, repo, [CommitOperationDelete("notes/"), CommitOperationCopy("README.md", "copy.md")])
    seen["without folder"] = sorted(api.list_repo_files(repo))
    seen["missing"] = _refused(lambda: _commit(api, repo, [CommitOperationDelete("nothing.txt")]))
    api.create_branch(repo, branch="try/this", revision=second)
    api.create_branch(repo, branch="try/this", exist_ok=True)
    _commit(api, repo, [_add("tried.txt")], revision="try/this")
    seen["on branch"] = api.file_exists(repo, "tried.txt", revision="try/this")
    seen["on main"] = api.file_exists(repo, "tried.txt")
    api.create_tag(repo, tag="v1", revision=third, tag_message="Good")
    api.create_tag(repo, tag="v1", exist_ok=True)
    refs = api.list_repo_refs(repo)
    seen["branches"] = [ref.name for ref in refs.branches]
    seen["tag is"] = refs.tags[0].target_commit == third
    seen["tagged"] = sorted(api.list_repo_files(repo, revision="v1"))
    api.delete_branch(repo, branch="try/this")
    api.delete_tag(repo, tag="v1")
    seen["refs"] = [len(api.list_repo_refs(repo).branches), len(api.list_repo_refs(repo).tags)]
    api.update_repo_settings(repo, visibility="private")
    seen["hidden"] = HfApi(token=False).repo_exists(repo)
    api.update_repo_settings(repo, visibility="public")
    seen["shown"] = HfApi(token=False).repo_exists(repo)
    api.update_repo_settings(repo, gated="auto")
    seen["gated"] = [api.model_info(repo).gated, [found.id for found in api.list_models(gated=True)]]
    seen["moved"] = _refused(lambda: api.move_repo(repo, repo + "-2"))
    seen["given away"] = _refused(lambda: api.move_repo(repo, "eve/poetry"))
    api.delete_repo(repo)
    api.delete_repo(repo, missing_ok=True)
    seen["deleted"] = api.repo_exists(repo)
    seen["name"] = _refused(lambda: api.create_repo(repo))
    return seen


def trespass(repo: str) -> dict[str, Any]:
    """What a stranger gets when they write to somebody's adapter."""
    api = HfApi()
    calls = {
        "create": lambda: api.create_repo(repo, exist_ok=True),
        "upload": lambda: _commit(api, repo, [_add("a.txt")]),
        "tag": lambda: api.create_tag(repo, tag="v1"),
        "settings": lambda: api.update_repo_settings(repo, visibility="private"),
        "delete": lambda: api.delete_repo(repo),
    }
    return {name: _refused(call) for name, call in calls.items()}


def commit_each(repo: str, commits: list[dict[str, str]]) -> list[list[Any]]:
    """A commit of each of these sets of texts, or why not."""
    api, answers = HfApi(), list[list[Any]]()
    api.create_repo(repo, exist_ok=True)
    for files in commits:
        operations = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
        answers.append(_refused(lambda operations=operations: _commit(api, repo, operations)))
    return answers


def _add(path: str) -> CommitOperationAdd:
    return CommitOperationAdd(path, path.encode())


def _commit(api: HfApi, repo: str, operations: list[Any], **more: Any) -> str:
    message = f"Change {len(operations)} files"
    return str(api.create_commit(repo, operations, commit_message=message, **more).oid)


def _refused(call: Any) -> list[Any]:
    try:
        call()
    except HfHubHTTPError as error:
        return [error.response.status_code, str(error)]
    return [200, ""]


def upload_one_by_one(repo: str, folder: str, *, fails: bool = False) -> str:
    """Files in turn, so that what a cut leaves behind does not depend on threads."""
    api = HfApi()
    try:
        api.create_repo(repo, exist_ok=True)
        operations = [CommitOperationAdd(path.name, str(path)) for path in sorted(Path(folder).iterdir())]
        return api.create_commit(repo, operations, commit_message="The adapter", num_threads=1).oid
    except (HTTPError, OSError, RuntimeError) as error:
        if not fails:
            raise
        return f"cut: {type(error).__name__}"
