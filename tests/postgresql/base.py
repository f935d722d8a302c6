"""Django's PostgreSQL, except that tables are emptied row by row: TRUNCATE writes a new file for each of our many tables
and their indexes, and after a test they hold a few rows.
"""

from collections.abc import Sequence
from typing import Any

from django.db.backends.postgresql import base, operations


class DatabaseOperations(operations.DatabaseOperations):
    def sql_flush(self, style: Any, tables: Sequence[str], **_: Any) -> list[str]:  # noqa: ARG002
        """Foreign keys are looked at when all of it is gone. Counters go on, as they do unless a test asks."""
        return [f"DELETE FROM {self.quote_name(table)}" for table in tables]


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations
