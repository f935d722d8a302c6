"""GET /v1/models: what can be asked, by whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.routing.published import PublishedLibrary
from tests.serving.guest_lists import Hub
from tests.serving.live import LiveServer, live_server
from tests.serving.passes import signed_pass


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


def test_a_version_on_another_base_cannot_be_asked_and_is_not_found(
    live: LiveServer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = with_pass(live, signed_pass(hub.key))
    assert client.models.retrieve("tales@3").id == "tales@3"
    monkeypatch.setattr(type(hub.published.store), "base_of", lambda *_: "0" * 64)

    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("tales@3")
