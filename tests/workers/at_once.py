"""A push without a process of its own: the same order, the same client and the same words, sooner."""

import contextlib
import io
import sys
import warnings
from pathlib import Path

import pytest
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from workers import exporting, pushing
from workers.exporting import Report
from workers.pushing import Order


def pushed_at_once(order: Order, _folder: Path, report: Report) -> str:
    """As `exporting.pushed`."""
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        warnings.catch_warnings(action="ignore", category=DeprecationWarning),  # of how the client sends
    ):
        patch.setattr(constants, "HF_HUB_DISABLE_XET", pushing.SETTINGS["HF_HUB_DISABLE_XET"] == "1")
        patch.setattr(sys, "stdin", io.StringIO(order.to_json()))
        try:
            pushing.main()
        finally:
            set_client_factory(default_client_factory)
    return exporting._heard(io.BytesIO(said.getvalue().encode()), report)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of this test need no process."""
    monkeypatch.setattr(exporting, "pushed", pushed_at_once)
