"""Print the longest files and functions, so that growth is seen while it is small."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("hub", "workers", "routing", "fletch", "demo", "bench", "study", "tests", "tools")
FILE_LIMIT, FUNCTION_LIMIT = 400, 60


def sources() -> Iterator[Path]:
    for room in ROOMS:
        yield from (path for path in sorted(Path(room).rglob("*.py")) if "migrations" not in path.parts)


def file_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield node.end_lineno - node.lineno + 1, f"{path}:{node.lineno} {node.name}"


def main() -> None:
    """Three of each; exit 1 where one is past its limit."""
    files = sorted(((file_lines(path), str(path)) for path in sources()), reverse=True)
    longest = sorted((row for path in sources() for row in functions(path)), reverse=True)
    for title, rows in (("longest files", files), ("longest functions", longest)):
        print(f"{title}: " + ", ".join(f"{name} ({lines})" for lines, name in rows[:3]))
    too_long = [f"{name}: {n} lines" for n, name in files if n > FILE_LIMIT]
    too_long += [f"{name}: {n} lines" for n, name in longest if n > FUNCTION_LIMIT]
    if too_long:
        raise SystemExit("split these:\n  " + "\n  ".join(too_long))


if __name__ == "__main__":
    main()
