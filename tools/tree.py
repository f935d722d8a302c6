"""Write docs/tree.md: every file with the first line of its docstring. `--check` only compares."""

import ast
import sys
from pathlib import Path

ROOMS = (
    "routing",
    "hub",
    "workers",
    "fletch",
    "fletch_vllm",
    "demo",
    "evaluation",
    "bench",
    "study",
    "tools",
)
PAGE = Path("docs/tree.md")
HEAD = """# The tree, a line per file

Made by `make tree` from the first line of each file's docstring; `make check` refuses a stale one.
"""


def first_line(path: Path) -> str | None:
    """What a file says it is; None for empty files."""
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return None
    docstring = ast.get_docstring(ast.parse(text)) or "(says nothing)"
    return docstring.splitlines()[0]


def section(folder: Path) -> list[str]:
    """The files directly inside a folder, as a table, then its subfolders."""
    rows = [(path.name, first_line(path)) for path in sorted(folder.glob("*.py"))]
    named = [f"| `{name}` | {line} |" for name, line in rows if line is not None]
    lines = [f"\n## {folder}/\n", "| file | what it is |", "|---|---|", *named] if named else []
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        if sub.name not in {"migrations", "__pycache__", "templates", "static"}:
            lines += section(sub)
    return lines


def main() -> None:
    page = HEAD + "\n".join(line for room in ROOMS for line in section(Path(room))) + "\n"
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        raise SystemExit(f"{PAGE} is stale; run: make tree")


if __name__ == "__main__":
    main()
