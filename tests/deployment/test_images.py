"""The Dockerfile's images, by their own lines: whose they are, what is compiled in them, and what they keep where."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.deployment import compose
from tests.deployment.compose import PROJECT, Moves
from workers.serving.__main__ import arguments

DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
SECRETS = ("SECRET_KEY", "ALLOWED_HOSTS", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "OBJECTS_SECRET")
COMPOSED = compose.read({f"FLETCH_{name}": "x" for name in SECRETS})
OURS = [one for one in COMPOSED["services"].values() if one["image"].startswith("fletch-")]


@dataclass(frozen=True)
class Stage:
    """One image of the Dockerfile."""

    name: str
    lines: list[str]

    def said(self, instruction: str) -> list[str]:
        """What follows each of these instructions."""
        return [
            line.removeprefix(f"{instruction} ") for line in self.lines if line.startswith(f"{instruction} ")
        ]

    @property
    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for line in self.said("ENV") for word in shlex.split(line))


BASE, *IMAGES = (
    Stage(text.splitlines()[0].split(" AS ")[1], text.splitlines()[1:])
    for text in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
)
COMPUTING = [stage for stage in IMAGES if stage.name != "web"]
each_image = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
each_computing = pytest.mark.parametrize("image", COMPUTING, ids=lambda image: image.name)


@each_image
def test_it_runs_as_an_ordinary_user(image: Stage) -> None:
    assert image.said("USER") == ["fletch"]


def test_the_user_owns_every_folder_that_a_volume_is_mounted_on() -> None:
    (owned,) = re.findall(r"install -d -o fletch -g fletch ([^&]+)", "".join(BASE.lines))

    mounts = [mount.split(":") for one in OURS for mount in one.get("volumes", [])]
    named = {place[0] for name, *place in mounts if name in COMPOSED["volumes"]}

    assert named
    assert named <= set(owned.split())


@each_image
def test_every_module_of_ours_is_compiled_with_it(image: Stage, tmp_path: Path) -> None:
    for line in image.said("COPY"):
        source, *_, target = line.split()
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.endswith(".py"):
            (tmp_path / target).mkdir(exist_ok=True)
            shutil.copy(PROJECT / source, tmp_path / target)
    (command,) = (line for line in image.said("RUN") if "compileall" in line)

    words = shlex.split(command.replace("python", sys.executable, 1))
    subprocess.run(words, cwd=tmp_path, env={**os.environ, **BASE.environment}, check=True)

    modules = set(tmp_path.glob("*/**/*.py"))  # not manage.py, which is run and never imported
    compiled = {path.parents[1] / f"{path.name.split('.')[0]}.py" for path in tmp_path.rglob("*.pyc")}
    assert modules
    assert modules == compiled


@each_computing
def test_compiled_loops_are_kept_on_a_volume(image: Stage, tmp_path: Path) -> None:
    environment = {**os.environ, **image.environment}
    volume = Moves((("/data", str(tmp_path / "data")),))
    where = "from routing.panel_loops import multiply; print(multiply.stats.cache_path)"

    found = subprocess.run(
        [sys.executable, "-c", where],
        env={name: volume(value) for name, value in environment.items()},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert tmp_path / "data" in Path(found.stdout.strip()).parents
    services = [one for one in OURS if one["image"] == f"fletch-{image.name}"]
    assert services
    for service in services:
        assert any(mount.endswith(":/data") for mount in service["volumes"])


@each_computing
def test_a_pod_has_a_volume_for_them_too(image: Stage) -> None:
    manifest = PROJECT / "deploy" / "kubernetes" / f"{image.name}.yaml"
    deployment = next(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))

    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert "/data" in {mount["mountPath"] for mount in container["volumeMounts"]}


@each_computing
def test_triton_finds_a_compiler_for_its_launcher_on_a_gpu(image: Stage) -> None:
    (command,) = (line for line in image.said("RUN") if "apt-get" in line)
    update, install, clear = (step.split() for step in command.split(" && "))

    assert "TRITON_CACHE_DIR" in image.environment
    assert image.lines.index(f"RUN {command}") < image.lines.index("USER fletch"), "root installs it"
    assert update == ["apt-get", "update"]
    assert install[:2] == ["apt-get", "install"]
    assert {"--yes", "--no-install-recommends", "gcc", "libc6-dev"} == set(install[2:])
    assert clear == ["rm", "-rf", "/var/lib/apt/lists/*"], "in the same layer"


def test_images_that_compute_share_the_compiler_s_layer() -> None:
    first = {line for image in COMPUTING for line in image.lines[:2] if line.startswith("RUN ")}

    assert len(first) == 1


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/kubernetes/serving.yaml"])
def test_a_gpu_is_named_with_the_numbers_that_it_is_made_for(file: str) -> None:
    (comment,) = re.findall(r"# A GPU: .*", (PROJECT / file).read_text(encoding="utf-8"))
    command = next(one["command"] for one in OURS if one["image"] == "fletch-serving")

    given = arguments().parse_args([*command[3:], *" ".join(re.findall(r"--\w+ \w+", comment)).split()])

    assert (given.device, given.dtype) == ("cuda", "bfloat16")
