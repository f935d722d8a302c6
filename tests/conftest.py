"""What all tests share: a missing service is said aloud on a developer's machine and is a failure in CI."""

import pytest

from tests.reachable import IN_CI, browser, missing_services


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = missing_services() if item.get_closest_marker("services") else []
    if item.get_closest_marker("browser") and browser() is None:
        lacking.append("no Chromium is installed")
    if lacking and IN_CI:
        pytest.fail("; ".join(lacking), pytrace=False)
    if lacking:
        pytest.skip("; ".join(lacking))
