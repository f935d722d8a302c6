"""Whatever is asked of the JSON API, it answers as its document says, and never fails.

`make fuzz` runs it; FUZZ_EXAMPLES says how many requests each operation gets.
"""

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.conf import settings as hub_settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.http import HttpResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hub.conftest import Api, api_of
from tests.hub.fuzzing import document
from tests.hub.fuzzing.document import Operation
from tests.pages.content import Content

pytestmark = pytest.mark.slow
FEW = 20
ELSEWHERE = "https://other-hub.example"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", FEW))
MULTIPART, JSON, BYTES = "multipart/form-data", "application/json", "application/octet-stream"
# What any request can meet before an operation looks at it: a malformed one, a token that does not serve, and an
# address that names nothing.
EVERYWHERE = {400, 401, 403, 404}


def known(made: Content) -> Mapping[str, list[Any]]:
    """What exists in the filled hub, by what the document calls it."""
    releases = (made.ready, made.rejected, made.private, made.quarantined, made.waiting)
    return {
        "slug": [made.library.slug],
        "owner": [made.contributor.username, "bob"],
        "name": [release.adapter.name for release in releases],
        "revision": ["main", *(release.commit.oid for release in releases)],
        "number": [1, 2],
        "checkpoint_id": [made.checkpoint.pk, made.composing.pk],
        "from": [1],
        "to": [2, ELSEWHERE],
        "token": ["hf_theirs"],
        "experts": [[made.ready.adapter.full_name]],
        "repo": ["someone/something"],
        "endpoint": [""],
        "sha256": ["0" * 64],
    }


@pytest.fixture(autouse=True)
def everything_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an operator turns on is asked too."""
    monkeypatch.setattr(hub_settings, "EXPORT_TO", (ELSEWHERE,))


@st.composite
def requests(draw: st.DrawFn, operation: Operation, here: Mapping[str, list[Any]]) -> dict[str, Any]:
    """A request to this operation: where to, and what to send along."""
    path, query = operation.path, {}
    for parameter in operation.said.get("parameters", ()):
        name = parameter["name"]
        value = draw(document.mostly_valid(name, parameter["schema"], here))
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", quote(_text(value), safe=""))
        elif draw(st.booleans()) or parameter.get("required"):
            query[name] = _text(value).encode(errors="replace")
    return {"path": f"{path}?{urlencode(query)}" if query else path, **_sent(draw, operation, here)}


def _sent(draw: st.DrawFn, operation: Operation, here: Mapping[str, list[Any]]) -> dict[str, Any]:
    if operation.body is None:
        return {}
    kind, schema = operation.body
    if kind == BYTES:
        return {"data": draw(st.binary(max_size=200)), "content_type": BYTES}
    if kind == JSON:
        body = draw(document.mostly_valid("", schema, here))
        broken = (
            draw(st.sampled_from([b"", b"{", b"\xff", b"[" * 2000])) if draw(st.integers(0, 9)) == 0 else b""
        )
        return {"data": broken or json.dumps(body).encode(), "content_type": JSON}
    fields = document.resolved(schema)["properties"]
    form = {name: _form_value(draw, name, fields[name], here) for name in fields if draw(st.booleans())}
    return {"form": form}


def _form_value(draw: st.DrawFn, name: str, schema: document.Json, here: Mapping[str, list[Any]]) -> Any:
    if "binary" in json.dumps(schema):
        file = st.builds(
            SimpleUploadedFile,
            st.sampled_from(["a.zip", "a.tar.gz", "rows.jsonl", "x"]),
            st.binary(max_size=200),
        )
        return draw(st.lists(file, max_size=3) if schema.get("type") == "array" else file)
    value = draw(document.mostly_valid(name, schema, here))
    return [_text(one) for one in value] if isinstance(value, list) else _text(value)


def _text(value: object) -> str:
    """As it can stand in an address or a form."""
    return str(value).encode(errors="replace").decode()[:2000]


@pytest.mark.parametrize("operation", document.operations(), ids=lambda operation: operation.name)
def test_an_operation_answers_as_documented(operation: Operation, made: Content) -> None:
    visitors = [api_of(None), api_of(made.contributor), api_of(made.maintainer)]
    here = known(made)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=EXAMPLES == FEW,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(asked=requests(operation, here), visitor=st.sampled_from(visitors))
    def every_time(asked: dict[str, Any], visitor: Api) -> None:
        with transaction.atomic():  # so that an example finds what the others found
            _check(operation, _answer(operation, asked, visitor))
            transaction.set_rollback(True)

    every_time()


def _answer(operation: Operation, asked: dict[str, Any], visitor: Api) -> HttpResponse:
    method = operation.method
    if "form" in asked:
        return visitor.client.post(asked["path"], asked["form"], headers=visitor.headers)  # type: ignore[return-value]
    sent = {name: asked[name] for name in ("data", "content_type") if name in asked}
    return visitor.client.generic(method.upper(), asked["path"], headers=visitor.headers, **sent)  # type: ignore[return-value]


def _check(operation: Operation, answer: HttpResponse) -> None:
    status = answer.status_code
    assert status < 500 or status == 507, answer.content
    said = operation.response(status)
    if said is None:
        assert status in EVERYWHERE | {405}, f"{status} is not documented: {answer.content!r}"
        return
    for media, content in said.get("content", {}).items():
        assert answer["Content-Type"].startswith(media)
        assert list(document.violations(json.loads(answer.content), content["schema"])) == []


def test_a_value_that_a_schema_does_not_allow_is_noticed() -> None:
    schema = {"$ref": "#/components/schemas/Problem"}

    assert list(document.violations({"error": "x", "detail": "y", "findings": []}, schema)) == []
    assert list(document.violations({"error": 1, "findings": [{}]}, schema)) != []


def test_a_failure_of_ours_is_noticed() -> None:
    (operation, *_) = document.operations()

    for status in (500, 503):
        with pytest.raises(AssertionError):
            _check(operation, HttpResponse(status=status))
