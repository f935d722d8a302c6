"""An upload that ends early is no upload, however much of it came."""

import io
from typing import Any

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from hub.accounts.models import User
from hub.adapters.models import Adapter, Release
from tests.hub import making
from tests.hub.conftest import Api, api_of

pytestmark = pytest.mark.django_db(transaction=True)  # the server closes its connection after each request
URL = "/api/v1/libraries/tiny/adapters/poetry/releases"
FILES = [("adapter_config.json", b"{}"), ("adapter_model.safetensors", b"x" * 200_000)]


def posted(api: Api, body: bytes, *, declared: int) -> int:
    """The status of a request whose client declared a length and sent `body`, as a real server hands it over."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": URL,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": MULTIPART_CONTENT,
        "CONTENT_LENGTH": str(declared),
        "HTTP_AUTHORIZATION": api.headers["Authorization"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
    }
    statuses: list[str] = []
    response = WSGIHandler()(environ, lambda status, *_: statuses.append(status))  # type: ignore[arg-type]
    response.close()
    return int(statuses[0].partition(" ")[0])


@pytest.fixture
def api(ada: User) -> Api:
    making.library()
    return api_of(ada)


@pytest.fixture
def body() -> bytes:
    return encode_multipart(
        BOUNDARY, {"files": [making.form_file(*file) for file in FILES], "message": "whole"}
    )


def test_a_whole_upload_is_accepted(api: Api, body: bytes) -> None:
    assert posted(api, body, declared=len(body)) == 202
    assert Release.objects.get().commit.files.count() == 2


@pytest.mark.parametrize("missing", [1, 10, 100, 300, 100_000, 200_000])
def test_a_cut_upload_is_refused_and_leaves_nothing(api: Api, body: bytes, missing: int) -> None:
    assert posted(api, body[:-missing], declared=len(body)) == 400

    assert not Adapter.objects.exists()
    assert list(settings.TEMPORARY.iterdir()) == []
