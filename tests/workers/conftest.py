import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pytest_django.plugin import DjangoDbBlocker

from tests.migrated import SERVER, migrated_postgresql
from tests.workers.live import LiveHub, live_hub


@pytest.fixture
def hub(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[LiveHub]:
    """An empty hub with a SQLite file and a data folder of its own."""
    with django_db_blocker.unblock(), live_hub(tmp_path / "data") as hub:
        yield hub


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a migrated, empty database, dropped afterwards."""
    name, template = f"workers_{secrets.token_hex(6)}", migrated_postgresql()
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as server:
        server.execute(copy)
        try:
            yield f"{SERVER}/{name}"
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def either_hub(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[LiveHub]:
    """An empty hub, once on each database. Leases are short: tests wait for them to expire."""
    url = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    with django_db_blocker.unblock(), live_hub(tmp_path / "data", database_url=url, lease_seconds=0.8) as hub:
        yield hub
