"""What people do with huggingface_hub about gated repositories."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError


def gate(repo: str, gating: str) -> None:
    HfApi().update_repo_settings(repo, gated=gating)  # type: ignore[arg-type]


def download(repo: str, path: str) -> str:
    """What is in the file, or what the client says of the gate."""
    try:
        return Path(hf_hub_download(repo, path)).read_text()
    except GatedRepoError as error:
        return f"gated: {error.server_message}"


def looks_at(repo: str) -> Any:
    return HfApi().model_info(repo).gated


def waiting(repo: str) -> list[Any]:
    return [[one.username, one.status, one.fields] for one in HfApi().list_pending_access_requests(repo)]


def accept(repo: str, user: str) -> None:
    HfApi().accept_access_request(repo, user)


def reject(repo: str, user: str, reason: str) -> None:
    HfApi().reject_access_request(repo, user, rejection_reason=reason)


def grant(repo: str, user: str) -> None:
    HfApi().grant_access(repo, user)
