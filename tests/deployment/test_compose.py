import contextlib
import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer
from psycopg import sql

from tests.deployment import compose
from tests.deployment.compose import PROJECT, Moves
from tests.end_to_end.hub_process import COMMANDS
from tests.reachable import POSTGRES_URL
from tests.tiny import tiny_llama

VALUES = {
    "FLETCH_SECRET_KEY": secrets.token_urlsafe(40),
    "FLETCH_ALLOWED_HOSTS": "hub.example.org",
    "FLETCH_POSTGRES_PASSWORD": "unused-by-trust",
    "FLETCH_REDIS_PASSWORD": "redis-password",
    "FLETCH_OBJECTS_SECRET": "objects-secret",
}


def test_every_secret_must_be_set() -> None:
    with pytest.raises(compose.Unset, match="FLETCH_SECRET_KEY"):
        compose.read({**VALUES, "FLETCH_SECRET_KEY": ""})


def test_the_example_settings_name_every_variable_that_must_be_set() -> None:
    example = (PROJECT / "deploy" / "example.env").read_text(encoding="utf-8")

    named = {line.split("=")[0] for line in example.splitlines() if line and not line.startswith("#")}

    assert set(VALUES) <= named


def test_every_long_running_service_has_a_health_check_and_restarts() -> None:
    services = compose.read(VALUES)["services"]

    for name, service in services.items():
        if name != "migrate":
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of an empty database on this machine's server."""
    server, name = POSTGRES_URL.rpartition("/")[0], f"compose_{secrets.token_hex(6)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"{server}/{name}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def objects() -> Iterator[str]:
    """An S3 server with the bucket that the real one makes at its first start."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="fletch",
        aws_secret_access_key=VALUES["FLETCH_OBJECTS_SECRET"],
    )
    client.create_bucket(Bucket="fletch")
    yield address
    server.stop()


@pytest.mark.long(25)
@pytest.mark.services
@pytest.mark.timeout(240)
def test_the_commands_of_the_compose_file_make_a_hub(tmp_path: Path, postgres: str, objects: str) -> None:
    services = compose.read(VALUES)["services"]
    redis, web, serving = free_port(), free_port(), free_port()
    moves = Moves(
        (
            (f"postgresql://fletch:{VALUES['FLETCH_POSTGRES_PASSWORD']}@postgres:5432/fletch", postgres),
            ("redis:6379", f"127.0.0.1:{redis}"),
            ("http://objects:8333", objects),
            ("0.0.0.0:8000", f"127.0.0.1:{web}"),
            ("127.0.0.1:8000", f"127.0.0.1:{web}"),
            ("127.0.0.1:8081", f"127.0.0.1:{serving}"),
            ("0.0.0.0", "127.0.0.1"),
            ("8081", str(serving)),
        )
    )
    # each has a volume of its own
    data = {name: Moves((*moves.texts, ("/data", str(tmp_path / name)))) for name in services}
    with contextlib.ExitStack() as stack:
        place = ("--port", str(redis), "--bind", "127.0.0.1", "--dir", str(tmp_path))
        stack.enter_context(
            started([*compose.command(services["redis"], moves), *place], {}, tmp_path / "redis.log")
        )
        run_here(services["migrate"], data["migrate"])
        # the worker's health is asked for last: its command takes a second to start
        logs = {name: tmp_path / f"{name}.log" for name in ("web", "serving", "worker")}
        for name, log in logs.items():
            service, moved = services[name], data[name]
            stack.enter_context(
                started(here(compose.command(service, moved)), compose.environment(service, moved), log)
            )
        for name, log in logs.items():
            wait_for(partial(is_healthy, services[name], data[name]), log)

        founding = ["create_library", "tiny", str(tiny_llama()), "--wait"]
        commands = [["create_user", "ada"], ["create_token", "ada", "--scope", "infer"], founding]
        *_, said = run_here(services["web"], data["web"], "-c", COMMANDS, json.dumps(commands)).splitlines()
        token = json.loads(said)[1].strip()

        assert served(serving, "no pass") == {"refused with 401"}
        wait_for(lambda: "tiny" in served(serving, pass_of(web, token)), logs["serving"])
    assert any((tmp_path / "serving").rglob("objects/*/*")), "what it read from S3 is on its volume"


def here(command: list[str]) -> list[str]:
    """The image's programs are this environment's."""
    program, *rest = command
    return [sys.executable, *rest] if program == "python" else [sys.executable, "-m", program, *rest]


def run_here(service: Mapping[str, object], moves: Moves, *arguments: str) -> str:
    """What a command of the container, or another one in its environment, says until its end."""
    wanted = [sys.executable, *arguments] if arguments else here(compose.command(service, moves))
    done = subprocess.run(
        wanted,
        env=compose.environment(service, moves),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def started(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment or None, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def is_healthy(service: Mapping[str, object], moves: Moves) -> bool:
    command = here(compose.health_command(service, moves))
    return not subprocess.run(
        command, env=compose.environment(service, moves), cwd=PROJECT, capture_output=True, check=False
    ).returncode


def pass_of(port: int, token: str) -> str:
    """What the web process hands to the owner of a token, asked through a proxy."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Host": VALUES["FLETCH_ALLOWED_HOSTS"],
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "192.0.2.7",
    }
    address = f"http://127.0.0.1:{port}/api/v1/libraries/tiny/pass"
    with urllib.request.urlopen(urllib.request.Request(address, b"{}", headers), timeout=10) as answer:
        return str(json.load(answer)["token"])


def served(port: int, token: str) -> set[str]:
    """The models that the serving process says to who brings this pass, or that it refuses."""
    address = f"http://127.0.0.1:{port}/v1/models"
    asked = urllib.request.Request(address, headers={"X-Fletch-Pass": token})
    try:
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return {model["id"] for model in json.load(answer)["data"]}
    except urllib.error.HTTPError as refusal:
        return {f"refused with {refusal.code}"}


def wait_for(fact: Callable[[], bool], log: Path, *, seconds: float = 90.0) -> None:
    last_moment = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < last_moment, log.read_text(errors="replace")[-4000:]
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
