"""Content that takes seconds to make, made once in a process: later tests get the same rows and files again."""

import atexit
import copy
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from django.apps import apps
from django.core.management.color import no_style
from django.db import connection
from django.db.models import Model

T = TypeVar("T")
FOLDERS = ("blobs", "store")


@dataclass(frozen=True)
class Frozen(Generic[T]):
    """What a maker returned, the rows that it left behind, and a copy of its files."""

    made: T
    rows: Sequence[Sequence[Model]]
    files: Path

    def thaw(self, room: Path) -> T:
        """Put everything into an empty database and an empty room."""
        for rows in self.rows:
            type(rows[0])._base_manager.bulk_create(rows)
        with connection.cursor() as cursor:
            for statement in connection.ops.sequence_reset_sql(
                no_style(), [type(rows[0]) for rows in self.rows]
            ):
                cursor.execute(statement)
        for folder in FOLDERS:
            shutil.copytree(self.files / folder, room / folder, dirs_exist_ok=True)
        return copy.deepcopy(self.made)


def freeze(make: Callable[[], T], room: Path) -> Frozen[T]:
    """Make it here, and remember it. Tables that migrations fill are not its own."""
    empty = [model for model in apps.get_models(include_auto_created=True) if not _rows(model)]
    made = make()
    files = Path(tempfile.mkdtemp(prefix="fletch-frozen-"))
    atexit.register(shutil.rmtree, files, ignore_errors=True)
    for folder in FOLDERS:
        shutil.copytree(room / folder, files / folder)
    return Frozen(copy.deepcopy(made), [rows for model in empty if (rows := _rows(model))], files)


def _rows(model: type[Model]) -> list[Model]:
    return list(model._base_manager.order_by("pk"))
