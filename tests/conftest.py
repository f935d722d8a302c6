"""What all tests share: a missing service is said aloud on a developer's machine and is a failure in CI."""

import gc
import os
import shutil
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.contenttypes.management import create_contenttypes
from django.contrib.contenttypes.models import ContentType
from django.db.models.signals import post_migrate

from tests.migrated import migrated_postgresql, migrated_sqlite
from tests.reachable import IN_CI, browser, missing_services

# No test needs a GPU. Triton looks here when it is first imported, which transformers does.
os.environ["TRITON_INTERPRET"] = "1"
# No test speaks TLS, but each client would read the certificates of all authorities, which takes it most of its time.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = os.devnull


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        action="store_true",
        help="only tests that use the configured database: what a pass on another database can find",
    )


@pytest.hookimpl(trylast=True)  # when the others have shuffled
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--database"):
        config.hook.pytest_deselected(items=[item for item in items if not uses_database(item)])
        items[:] = [item for item in items if uses_database(item)]
    items[:] = long_ones_first(items)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """Nobody asks for Django's own permissions, which it would write again whenever a test leaves tables empty."""
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported for the tests stays to the end: to look through it for garbage takes a sixth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def long_ones_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """The first process begins with them, the longest first: while it waits for what they start, others compute.

    Tests that belong `together` follow each other: what they have in common is made once.
    """
    grouped: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("long"):
            group = item.get_closest_marker("together")
            grouped[group.args[0] if group else item.nodeid].append(item)
    groups = sorted(grouped.values(), key=lambda group: max(map(seconds, group)), reverse=True)
    short = [item for item in items if not item.get_closest_marker("long")]
    return [*(item for group in groups for item in group), *short]


def seconds(item: pytest.Item) -> float:
    """About how long it takes, as its marker says."""
    marker = item.get_closest_marker("long")
    return float(marker.args[0]) if marker and marker.args else 0.0


def uses_database(item: pytest.Item) -> bool:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return item.get_closest_marker("django_db") is not None or not {"db", "transactional_db"}.isdisjoint(
        fixtures
    )


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """The test database begins as a copy of one that is migrated already."""
    test = settings.DATABASES["default"]["TEST"]
    test["MIGRATE"] = False  # not once more
    if not on_sqlite():
        test["TEMPLATE"] = migrated_postgresql()
        return
    file = Path(test["NAME"])
    for leftover in (file, *file.parent.glob(f"{file.name}-*")):
        leftover.unlink(missing_ok=True)
    shutil.copy(migrated_sqlite(), file)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Whether Django takes the database as it lies there; the file goes with its folder."""
    return on_sqlite()


def on_sqlite() -> bool:
    return "sqlite3" in settings.DATABASES["default"]["ENGINE"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = missing_services() if item.get_closest_marker("services") else []
    if item.get_closest_marker("browser") and browser() is None:
        lacking.append("no Chromium is installed")
    if lacking and IN_CI:
        pytest.fail("; ".join(lacking), pytrace=False)
    if lacking:
        pytest.skip("; ".join(lacking))
    if uses_database(item):
        # A test that leaves tables empty leaves no content types. Who asks for one then has it made and
        # remembered, and when that transaction is rolled back it is there no more.
        ContentType.objects.clear_cache()
