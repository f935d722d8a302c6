"""The two ways to run a hub, with servers of their own where one needs them."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3
import psycopg
import pytest
from psycopg import sql

from tests.end_to_end.hub_process import RunningHub, free_port, running_hub
from tests.migrated import SERVER, migrated_postgresql

BUCKET = "fletch"
KEYS = {
    "AWS_ACCESS_KEY_ID": "fletch",
    "AWS_SECRET_ACCESS_KEY": "fletch-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="package")
def one_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """SQLite and folders. Whoever shares it brings a library and people of their own."""
    with running_hub(tmp_path_factory.mktemp("hub") / "data", {}) as hub:
        yield hub


@pytest.fixture
def hub_on_services(tmp_path: Path) -> Iterator[RunningHub]:
    """PostgreSQL, Redis and S3, for one test alone."""
    with all_services(tmp_path) as services, running_hub(tmp_path / "data", services) as hub:
        yield hub


@contextmanager
def all_services(folder: Path) -> Iterator[Mapping[str, str]]:
    """What the hub's processes are told about a database, a broker and a bucket of their own."""
    with own_database() as database, own_redis(folder) as redis, own_bucket() as endpoint:
        yield {
            "FLETCH_DATABASE_URL": database,
            "FLETCH_REDIS_URL": redis,
            "FLETCH_S3_BUCKET": BUCKET,
            "FLETCH_S3_ENDPOINT_URL": endpoint,
            "FLETCH_S3_REGION": KEYS["AWS_DEFAULT_REGION"],
            "FLETCH_S3_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"],
            "FLETCH_S3_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
            "FLETCH_STORE_URL": f"s3://{BUCKET}/store",
            "AWS_ENDPOINT_URL": endpoint,
            "HOME": str(folder / "home"),
            **KEYS,
        }


@contextmanager
def own_database() -> Iterator[str]:
    """Migrated; the tests of the compose file migrate an empty one."""
    name, template = f"workers_e2e_{secrets.token_hex(6)}", migrated_postgresql()
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as server:
        server.execute(copy)
        try:
            yield f"{SERVER}/{name}"
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def own_redis(folder: Path) -> Iterator[str]:
    port = free_port()
    options = ("--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--maxmemory-policy", "noeviction")
    with own_server(["redis-server", "--port", str(port), *options], port):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def own_bucket() -> Iterator[str]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with own_server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        yield endpoint


@contextmanager
def own_server(command: list[str], port: int) -> Iterator[None]:
    """A server process that listens before the block begins and ends with it."""
    server = subprocess.Popen(
        command, env={**os.environ, **KEYS}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_listening(port)
        yield
    finally:
        server.kill()
        server.wait()


def wait_until_listening(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")
