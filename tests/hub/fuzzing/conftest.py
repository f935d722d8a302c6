"""A filled hub, for every operation anew."""

from tests.pages.conftest import made

__all__ = ["made"]
