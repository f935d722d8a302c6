"""deploy/kubernetes as `kubectl apply --kustomize` puts it together: nothing named that is not there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from tests.deployment.compose import PROJECT

FOLDER = PROJECT / "deploy" / "kubernetes"
KUBERNETES = "1.37"


class Strict(BaseModel):
    """Unknown fields are refused, as kustomize refuses them."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Image(Strict):
    """One image by its name in the manifests, and what it becomes."""

    name: str
    new_name: str
    new_tag: str


class Kustomization(Strict):
    """The fields of `kustomize.config.k8s.io/v1beta1` that are used; another is to be resolved here as well."""

    api_version: Literal["kustomize.config.k8s.io/v1beta1"]
    kind: Literal["Kustomization"]
    namespace: str
    resources: list[str]
    images: list[Image]


class OnceOnly(yaml.SafeLoader):
    """YAML in which a key stands once: the last of two would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's signature
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


def read(path: Path) -> list[dict[str, Any]]:
    return list(yaml.load_all(path.read_text(encoding="utf-8"), OnceOnly))


def kustomization(folder: Path) -> Kustomization:
    (document,) = read(folder / "kustomization.yaml")
    return Kustomization.model_validate(document)


def containers(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pod = document.get("spec", {}).get("template", {}).get("spec", {})
    yield from pod.get("containers", [])
    yield from pod.get("initContainers", [])


def built(folder: Path) -> list[dict[str, Any]]:
    """What kustomize makes of a folder: the resources in their order, in one namespace, with their images."""
    asked = kustomization(folder)
    images = {image.name: f"{image.new_name}:{image.new_tag}" for image in asked.images}
    documents = [document for name in asked.resources for document in read(folder / name)]
    for document in documents:
        document["metadata"]["namespace"] = asked.namespace
        for one in containers(document):
            one["image"] = images.get(one["image"], one["image"])
    return documents


BUILT = built(FOLDER)
ADDRESSES = [(document["kind"], document["metadata"]["name"]) for document in BUILT]


@pytest.mark.parametrize("document", BUILT, ids=[f"{kind}-{name}" for kind, name in ADDRESSES])
def test_what_comes_of_it_is_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_nothing_is_listed_or_made_twice() -> None:
    listed = kustomization(FOLDER)

    for names in (listed.resources, [image.name for image in listed.images], ADDRESSES):
        assert len(set(names)) == len(names)


def test_every_container_gets_an_image_of_this_release_that_the_dockerfile_builds() -> None:
    images = kustomization(FOLDER).images
    release = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    targets = re.findall(
        r"^FROM \S+ AS (\w+)", (PROJECT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )

    resolved = {f"{image.new_name}:{image.new_tag}" for image in images}
    assert {one["image"] for document in BUILT for one in containers(document)} == resolved
    assert {image.new_tag for image in images} == {release}
    assert {image.name.removeprefix("fletch-") for image in images} <= set(targets)


def test_the_namespace_is_the_one_that_the_page_makes_and_nobody_names_another() -> None:
    page = (PROJECT / "docs" / "operate.md").read_text(encoding="utf-8")

    namespace = kustomization(FOLDER).namespace
    assert f"kubectl create namespace {namespace}\n" in page
    assert f"kubectl --namespace {namespace} create secret generic" in page
    given = [
        document["metadata"].get("namespace")
        for path in FOLDER.glob("*.yaml")
        for document in read(path)
        if "metadata" in document
    ]
    assert set(given) == {None}


def test_what_selects_pods_selects_some() -> None:
    labels = [
        document["spec"]["template"]["metadata"]["labels"]
        for document in BUILT
        if document["kind"] == "Deployment"
    ]
    selectors = [
        document["spec"]["selector"]
        if document["kind"] == "Service"
        else document["spec"]["selector"]["matchLabels"]
        for document in BUILT
        if document["kind"] in ("Service", "PodDisruptionBudget", "Deployment")
    ]

    assert selectors
    for selector in selectors:
        assert any(selector.items() <= found.items() for found in labels), selector


def test_what_is_scaled_is_there() -> None:
    scaled = [
        document["spec"]["scaleTargetRef"] for document in BUILT if document["kind"].endswith("Autoscaler")
    ]

    assert scaled
    assert all((target["kind"], target["name"]) in ADDRESSES for target in scaled)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("resource: [web.yaml]", ValidationError),  # a misspelt field
        ("resources: [nowhere.yaml]", FileNotFoundError),
        ("namespace: another", yaml.constructor.ConstructorError),  # it stands there already
        ("images: [{name: fletch-web, newTag: 1.0}]", ValidationError),  # a number, and to nowhere
    ],
)
def test_a_kustomization_that_does_not_resolve_would_be_found(
    tmp_path: Path, text: str, error: type[Exception]
) -> None:
    kept = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "fletch"}
    rest: dict[str, list[str]] = {
        name: [] for name in ("resources", "images") if not text.startswith(f"{name}:")
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({**kept, **rest}) + text + "\n")

    with pytest.raises(error):
        built(tmp_path)
