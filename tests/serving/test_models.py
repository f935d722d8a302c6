"""GET /v1/models: what can be asked, by whom."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.routing.published import PublishedLibrary
from tests.serving.guest_lists import Hub
from tests.serving.live import LiveServer, live_server
from tests.serving.passes import signed_pass
from workers.serving import models


@pytest.fixture(scope="module")
def hub(small_library: Any, tmp_path_factory: pytest.TempPathFactory) -> Hub:
    published = PublishedLibrary(tmp_path_factory.mktemp("listed"), small_library)
    for number in (1, 2):
        published.publish(number)
    published.store.write_version(published.name, 3, published.manifest())
    hub = Hub(published)
    hub.say_key()
    return hub


@pytest.fixture(scope="module")
def live(hub: Hub) -> Iterator[LiveServer]:
    with live_server(hub.published.url, callers="passes") as live:
        live.wait_for_version("tales", 2)
        yield live


def with_pass(live: LiveServer, token: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=token, max_retries=0, timeout=60)


def test_a_pass_for_another_library_is_told_of_no_version_and_no_expert(live: LiveServer, hub: Hub) -> None:
    elsewhere = with_pass(live, signed_pass(hub.key, libraries=["other"]))

    assert list(elsewhere.models.list()) == []
    for name in ("tales", "tales@1", "tales@7", "tales/base", "tales/ada/plain"):
        with pytest.raises(openai.PermissionDeniedError, match="not good for library tales"):
            elsewhere.models.retrieve(name)
    assert "tales" in {model.id for model in with_pass(live, signed_pass(hub.key)).models.list()}


def test_a_published_version_can_be_retrieved_before_it_is_asked_and_is_not_loaded_for_that(
    live: LiveServer, hub: Hub
) -> None:
    client = with_pass(live, signed_pass(hub.key))

    found = client.models.retrieve("tales@1")

    assert live.server.libraries["tales"].held == [2]
    client.completions.create(model="tales@1", prompt="x", max_tokens=1)
    assert live.server.libraries["tales"].held == [1, 2]
    assert client.models.retrieve("tales@1") == found
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("tales@9")


def test_the_list_is_written_when_it_changes_and_beside_the_event_loop(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real = models._model

    def model(name: str, *given: Any, **more: Any) -> dict[str, Any]:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        written.append(name)
        return real(name, *given, **more)

    monkeypatch.setattr(models, "_model", model)
    published.publish(1, ["ada/plain"])
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        first = live.get("/v1/models").json()
        again = [live.get("/v1/models").json() for _ in range(3)]
        told = [*written]
        published.publish(2, ["ada/plain", "bob/wide"])
        live.wait_for_version("tales", 2)

        second = live.get("/v1/models").json()

    assert told == ["tales", "tales@1", "tales/base", "tales/ada/plain"]
    assert again == [first] * 3
    assert first["object"] == "list"
    assert [one["id"] for one in first["data"]] == told
    assert [one["id"] for one in second["data"] if "@" not in one["id"]] == [
        "tales",
        "tales/base",
        "tales/ada/plain",
        "tales/bob/wide",
    ]


def test_one_model_is_found_as_the_list_tells_it_without_writing_the_others(
    live: LiveServer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = with_pass(live, signed_pass(hub.key))
    listed = {model.id: model for model in client.models.list()}
    written: list[str] = []
    real = models._model

    def model(name: str, *given: Any, **more: Any) -> dict[str, Any]:
        written.append(name)
        return real(name, *given, **more)

    monkeypatch.setattr(models, "_model", model)

    found = {name: client.models.retrieve(name) for name in listed}

    assert found == listed
    assert written == [*listed]
    for nobody in ("tales/zoe/nobody", "nowhere", "nowhere/base", "tales@9"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(nobody)
    assert written == [*listed]


def test_a_version_on_another_base_cannot_be_asked_and_is_not_found(
    live: LiveServer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = with_pass(live, signed_pass(hub.key))
    assert client.models.retrieve("tales@3").id == "tales@3"
    monkeypatch.setattr(type(hub.published.store), "base_of", lambda *_: "0" * 64)

    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("tales@3")
