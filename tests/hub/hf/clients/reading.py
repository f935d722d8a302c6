"""What people do with huggingface_hub to look at a repository and to download it."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError


def describe(repo: str) -> dict[str, Any]:
    api = HfApi()
    info = api.model_info(repo, files_metadata=True, securityStatus=True)
    files = {
        file.rfilename: [file.size, file.blob_id, file.lfs.sha256 if file.lfs else None]
        for file in info.siblings or ()
    }
    tree = list(api.list_repo_tree(repo, recursive=True, expand=True))
    refs = api.list_repo_refs(repo)
    return {
        "whoami": api.whoami(),
        "sha": info.sha,
        "tags": info.tags,
        "library_name": info.library_name,
        "license": info.card_data.license if info.card_data else None,
        "security": info.security_repo_status,
        "fletch": getattr(info, "fletch", None),
        "files": files,
        "tree": [type(entry).__name__ + " " + entry.path for entry in tree],
        "last": {entry.path: entry.last_commit.title for entry in tree if entry.last_commit},
        "folder": [entry.path for entry in api.list_repo_tree(repo, "extra")],
        "info_of": [entry.path for entry in api.get_paths_info(repo, ["README.md", "nothing", "extra"])],
        "branches": {ref.name: ref.target_commit for ref in refs.branches},
        "commits": [[commit.title, commit.message, commit.authors] for commit in api.list_repo_commits(repo)],
        "expanded": vars(api.model_info(repo, expand=["likes"]))["likes"],
    }


def probe(repo: str, private: str, held: str) -> dict[str, Any]:
    """What scripts ask before they do anything: each must be answered, and not raise."""
    api = HfApi()
    return {
        "file": api.file_exists(repo, "README.md"),
        "no file": api.file_exists(repo, "nothing.md"),
        "repo": api.repo_exists(repo),
        "no repo": api.repo_exists("ada/nothing"),
        "private": api.repo_exists(private),
        "revision": api.revision_exists(repo, "main"),
        "no revision": api.revision_exists(repo, "v9"),
        "errors": {
            "no file": _refused(lambda: hf_hub_download(repo, "nothing.md")),
            "no revision": _refused(lambda: hf_hub_download(repo, "README.md", revision="v9")),
            "no repo": _refused(lambda: api.model_info("ada/nothing")),
            "no folder": _refused(lambda: list(api.list_repo_tree(repo, "nothing"))),
            "held back": _refused(lambda: hf_hub_download(held, "adapter_config.json")),
            "data set": _refused(lambda: api.dataset_info("ada/rows")),
            "token": _refused(lambda: HfApi(token="hf_" + "0" * 64).whoami()),
        },
    }


def _refused(call: Any) -> list[str]:
    try:
        call()
    except HfHubHTTPError as error:
        return [type(error).__name__, str(error)]
    return ["nothing", ""]


def download(repo: str, place: str) -> dict[str, Any]:
    """Into the cache, into a folder, again, by commit, and one file of one revision."""
    cached = Path(snapshot_download(repo))
    local = Path(snapshot_download(repo, local_dir=place))
    again = Path(snapshot_download(repo))
    one = Path(hf_hub_download(repo, "README.md", revision=cached.name))
    return {
        "cached": {
            path.relative_to(cached).as_posix(): path.read_bytes().hex()[:64]
            for path in sorted(cached.rglob("*"))
            if path.is_file()
        },
        "local": sorted(
            path.relative_to(local).as_posix()
            for path in local.rglob("*")
            if path.is_file() and ".cache" not in path.parts
        ),
        "commit": cached.name,
        "same": again == cached,
        "one": one.read_text(),
    }


def find(searches: list[dict[str, Any]]) -> list[list[str]]:
    return [[found.id for found in HfApi().list_models(**wanted)] for wanted in searches]
