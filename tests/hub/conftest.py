"""The hub's tests: a database that several connections can share, and visitors of each kind."""

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.adapters import archives
from tests.hub import making
from tests.hub.packing import Unpack


@pytest.fixture(autouse=True)
def room(settings: Settings, tmp_path: Path) -> None:
    """Blobs and temporary files of one test, alone; what a test leaves in the temporary folder is a failure."""
    for folder in ("tmp", "blobs", "store"):
        (tmp_path / folder).mkdir()
    settings.TEMPORARY = settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "tmp"
    settings.STORE_URL = str(tmp_path / "store")
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "hub.blobs.folder.FolderBlobs",
            "OPTIONS": {"location": tmp_path / "blobs", "temporary": tmp_path / "tmp"},
        },
    }


@pytest.fixture
def unpack(tmp_path: Path) -> Unpack:
    """Unpacks into a folder of its own: {path: content}."""

    def run(packed: bytes, name: str) -> dict[str, bytes]:
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        files = archives.unpack(io.BytesIO(packed), name, into=place)
        return {file.path: file.source.read_bytes() for file in files}

    return run


@dataclass(frozen=True)
class Api:
    """The JSON API as one visitor sees it."""

    client: Client
    headers: dict[str, str]

    def get(self, path: str, **extra: Any) -> Any:
        return self.client.get(f"/api/v1{path}", headers=self.headers, **extra)

    def post(self, path: str, body: object) -> Any:
        return self.client.post(f"/api/v1{path}", body, content_type="application/json", headers=self.headers)

    def send(self, path: str, form: dict[str, object]) -> Any:
        return self.client.post(f"/api/v1{path}", form, headers=self.headers)


def api_of(user: User | None, *scopes: str) -> Api:
    """The API with a token of this user, or without any."""
    if user is None:
        return Api(Client(), {})
    _, secret = accounts.issue_token(user=user, name="test", scopes=scopes or ("read", "write", "admin"))
    return Api(Client(), {"Authorization": f"Bearer {secret}"})


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")
