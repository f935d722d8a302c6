"""What `--model_args` may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.api.registry import get_model

from evaluation.harness import Fletch, register
from evaluation.model import ComposedLM
from evaluation.options import BadOptions, load, parse, routing
from routing.checkpoint import Source, write_routed
from routing.errors import BadManifest, UnknownVersion
from tests.evaluation.asking import likelihood_requests
from tests.routing.libraries import llama_library
from tests.routing.published import PublishedLibrary


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedLibrary:
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    published = PublishedLibrary(tmp_path_factory.mktemp("store"), library)
    published.publish(1, ["ada/plain", "bob/wide"])
    published.publish(2)
    return published


def opened(**arguments: object) -> ComposedLM:
    lm = Fletch.create_from_arg_obj(dict(arguments), {"device": "cpu", "batch_size": 2})
    assert isinstance(lm, ComposedLM)
    return lm


def test_a_version_of_a_store_answers_as_the_checkpoint_that_was_taken_home(
    published: PublishedLibrary, tmp_path: Path
) -> None:
    source = Source(published.store, published.manifest(), published.spec, published.base)
    write_routed(tmp_path / "home", source)

    home = opened(checkpoint=str(tmp_path / "home"))
    there = opened(store=published.url, library=published.name)

    assert home.loglikelihood(likelihood_requests()) == there.loglikelihood(likelihood_requests())
    assert there.composed.experts == tuple(sorted(published.entries))


def test_an_older_version_and_the_router_are_chosen_by_name(published: PublishedLibrary) -> None:
    lm = opened(
        store=published.url, library=published.name, version=1, router="single", experts="bob/wide", top_k=1
    )

    assert lm.composed.experts == ("ada/plain", "bob/wide")
    assert lm.routing is not None
    assert (lm.routing.router, lm.routing.experts) == ("single", ("bob/wide",))
    assert lm.batch_size == 2


def test_the_command_line_s_text_means_the_same(published: PublishedLibrary) -> None:
    register()
    said = f"store={published.url},library={published.name},experts=ada/plain+eve/late,temperature=0.5"

    lm = get_model("fletch").create_from_arg_string(said, {"device": "cpu"})

    assert lm.routing.experts == ("ada/plain", "eve/late")
    assert lm.routing.temperature == 0.5


def test_the_plain_base_is_asked_for_in_the_same_way(published: PublishedLibrary) -> None:
    assert opened(store=published.url, library=published.name, base=True).routing is None


def test_what_nobody_would_hear_is_refused() -> None:
    with pytest.raises(BadOptions, match=r"ruoter.*expected some of .*router"):
        parse({"checkpoint": "home", "ruoter": "arrow"})


@pytest.mark.parametrize(
    "where", [{}, {"library": "tales"}, {"checkpoint": "a", "store": "b", "library": "c"}]
)
def test_the_model_must_be_named_in_one_way(where: dict[str, str]) -> None:
    with pytest.raises(BadOptions, match="expected checkpoint, or store and library"):
        load(parse(where))


def test_a_library_or_version_that_is_not_there_is_named(published: PublishedLibrary) -> None:
    with pytest.raises(BadManifest, match=r"poems.*tales"):
        opened(store=published.url, library="poems")
    with pytest.raises(UnknownVersion, match="tales has no version 7"):
        opened(store=published.url, library=published.name, version=7)


def test_the_policy_holds_where_nothing_is_said(published: PublishedLibrary) -> None:
    options = parse({"store": published.url, "library": published.name, "top_k": 1})

    wanted = routing(load(options), options)

    assert wanted is not None
    assert (wanted.router, wanted.top_k) == ("arrow", 1)
