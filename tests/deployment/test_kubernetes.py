"""deploy/kubernetes: valid against Kubernetes' own schemas, and about the same programs as docker-compose.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.urls import URLPattern
from starlette.testclient import TestClient

from hub.urls import urlpatterns
from routing.object_cache import LIMIT
from tests.deployment import compose
from tests.deployment.compose import PROJECT
from workers.serving.__main__ import arguments
from workers.serving.app import create_app
from workers.serving.ending import FLUSH, GRACE
from workers.serving.options import Options

FOLDER = PROJECT / "deploy" / "kubernetes"
KUBERNETES = "1.37"
VALUES = dict.fromkeys(
    [
        "FLETCH_SECRET_KEY",
        "FLETCH_ALLOWED_HOSTS",
        "FLETCH_POSTGRES_PASSWORD",
        "FLETCH_REDIS_PASSWORD",
        "FLETCH_OBJECTS_SECRET",
    ],
    "x",
)
DOCUMENTS = [
    document
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
NAMES = [f"{document['kind']}-{document['metadata']['name']}" for document in DOCUMENTS]
SERVICES = compose.read(VALUES)["services"]


def named(kind: str) -> dict[str, Any]:
    return {document["metadata"]["name"]: document for document in DOCUMENTS if document["kind"] == kind}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods by the service of the compose file that runs the same."""
    for document in DOCUMENTS:
        if document["kind"] in ("Deployment", "Job"):
            yield document["metadata"]["name"].removeprefix("fletch-"), document["spec"]["template"]["spec"]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


def environment(one: dict[str, Any]) -> set[str]:
    maps = named("ConfigMap")
    given = [key for source in one["envFrom"] for key in maps[source["configMapRef"]["name"]]["data"]]
    return {*given, *(variable["name"] for variable in one["env"])}


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_each_document_is_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    broken = {**named("Deployment")["fletch-web"], "sepc": {}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_the_kustomization_lists_every_file_and_every_image() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))

    assert {*listed["resources"], "kustomization.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}
    assert {image["name"] for image in listed["images"]} == {container(pod)["image"] for _, pod in pods()}


@pytest.mark.parametrize(("service", "pod"), list(pods()))
def test_it_runs_what_the_compose_file_runs(service: str, pod: dict[str, Any]) -> None:
    there, here = SERVICES[service], container(pod)

    assert here["image"] == there["image"]
    assert here["command"] == there["command"]
    assert environment(here) == set(there["environment"])


@pytest.mark.parametrize(("_service", "pod"), list(pods()))
def test_what_it_refers_to_is_there(_service: str, pod: dict[str, Any]) -> None:
    page = (PROJECT / "docs" / "operate.md").read_text(encoding="utf-8")
    asked = {variable["valueFrom"]["secretKeyRef"]["key"] for variable in container(pod)["env"]}
    claims = (
        {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        if "volumes" in pod
        else set()
    )
    mounted = {mount["name"] for mount in container(pod).get("volumeMounts", [])}

    assert asked <= set(re.findall(r"--from-literal=([\w-]+)=", page)), "docs/operate.md makes the secret"
    assert claims <= named("PersistentVolumeClaim").keys()
    assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


def test_the_probes_ask_for_addresses_that_exist(tmp_path: Path) -> None:
    hub = {f"/{pattern.pattern}" for pattern in urlpatterns if isinstance(pattern, URLPattern)}
    serving = TestClient(create_app(Options(store=str(tmp_path))))
    for service, pod in pods():
        one = container(pod)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = one.get(probe, {}).get("httpGet")
            if asked is None:
                continue
            assert asked["port"] in {port["name"] for port in one["ports"]}
            assert asked["path"] in hub if service == "web" else serving.get(asked["path"]).status_code != 404


def test_ports_are_those_that_the_programs_listen_on() -> None:
    found = dict(pods())
    serving = container(found["serving"])
    given = arguments().parse_args(serving["command"][3:])

    assert (given.host, given.port) == ("0.0.0.0", serving["ports"][0]["containerPort"])
    assert (
        f"0.0.0.0:{container(found['web'])['ports'][0]['containerPort']}"
        in container(found["web"])["command"]
    )
    for name, service in named("Service").items():
        assert service["spec"]["selector"] == named("Deployment")[name]["spec"]["selector"]["matchLabels"]


def test_what_ends_a_serving_process_leaves_time_for_its_answers_and_for_what_comes_behind() -> None:
    pod = dict(pods())["serving"]
    before = float(container(pod)["lifecycle"]["preStop"]["exec"]["command"][-1])
    behind = 10.0  # the last report to the hub, and the last spans

    assert pod["terminationGracePeriodSeconds"] >= before + GRACE + FLUSH + behind
    assert float(SERVICES["serving"]["stop_grace_period"].removesuffix("s")) >= GRACE + FLUSH + behind


def test_the_autoscaler_asks_for_a_number_that_is_told(tmp_path: Path) -> None:
    scaler = named("HorizontalPodAutoscaler")["fletch-serving"]["spec"]
    told = TestClient(create_app(Options(store=str(tmp_path)))).get("/metrics").text

    assert scaler["scaleTargetRef"]["name"] in named("Deployment")
    assert all(f"# TYPE {one['pods']['metric']['name']} gauge" in told for one in scaler["metrics"])


def test_a_bounded_cache_has_room_on_its_volume_for_what_is_in_use_beside_it() -> None:
    pod = dict(pods())["serving"]
    given = arguments().parse_args(container(pod)["command"][3:])
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container(pod)["volumeMounts"]}
    bounded = {
        volume["name"]: int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
        for volume in pod["volumes"]
        if "sizeLimit" in volume.get("emptyDir", {})
    }

    (name,) = (name for name in bounded if given.cache.is_relative_to(mounts[name]))
    assert given.cache_megabytes is None
    assert bounded[name] >= LIMIT * 5 // 4
