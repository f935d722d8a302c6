"""A processor that passes for a GPU, and small libraries to decode by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.routing.as_a_gpu import as_a_gpu
from tests.routing.libraries import SmallLibrary, gpt2_library, llama_library


@pytest.fixture(autouse=True, scope="module")
def on_a_gpu() -> Iterator[None]:
    with as_a_gpu():
        yield


@pytest.fixture(scope="module", params=[llama_library, gpt2_library], ids=["llama", "gpt2"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return request.param(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("llama-adapters"))
