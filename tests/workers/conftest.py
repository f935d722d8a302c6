import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pytest_django.plugin import DjangoDbBlocker

from tests.workers.live import LiveHub, live_hub, migrate

SERVER = "postgresql://postgres@127.0.0.1:5432"


@pytest.fixture
def hub(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[LiveHub]:
    """An empty hub with a SQLite file and a data folder of its own."""
    with django_db_blocker.unblock(), live_hub(tmp_path / "data") as hub:
        yield hub


@contextmanager
def own_database(template: str = "template1") -> Iterator[str]:
    """The address of a new database, dropped afterwards."""
    name = f"workers_{secrets.token_hex(6)}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as server:
        server.execute(copy)
        try:
            yield f"{SERVER}/{name}"
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def migrated_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a migrated database to copy: migrating takes seconds, copying does not."""
    with own_database() as url:
        migrate(tmp_path_factory.mktemp("template"), database_url=url)
        yield url.rpartition("/")[2]


@pytest.fixture
def postgresql(migrated_postgresql: str) -> Iterator[str]:
    """The address of a migrated, empty database."""
    with own_database(migrated_postgresql) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def either_hub(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[LiveHub]:
    """An empty hub, once on each database. Leases are short: tests wait for them to expire."""
    url = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    with django_db_blocker.unblock(), live_hub(tmp_path / "data", database_url=url, lease_seconds=0.8) as hub:
        yield hub
