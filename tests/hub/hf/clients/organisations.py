"""What people do with huggingface_hub for an organisation that they belong to."""

from typing import Any

from huggingface_hub import HfApi


def upload_for(repo: str, folder: str) -> dict[str, Any]:
    """Make a private repository there, and send a folder to it."""
    api = HfApi()
    api.create_repo(repo, private=True, exist_ok=True)
    done = api.upload_folder(repo_id=repo, folder_path=folder)
    orgs = [[one["name"], one["roleInOrg"]] for one in api.whoami()["orgs"]]
    return {"orgs": orgs, "oid": done.oid, "private": api.model_info(repo).private}
