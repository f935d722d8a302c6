"""Names of blobs, trees and commits, compared with git itself."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.adapters import gitnames
from hub.blobs import content

FILES = {
    "README.md": b"hello\n",
    "empty": b"",
    "a/b/c.bin": bytes(range(256)) * 9000,
    "a.txt": b"sorts before the folder a",
    "a0": b"and this after it",
    "a/z": b"z",
}


def git(repository: Path, *arguments: str, stdin: bytes = b"") -> str:
    environment = {
        "HOME": str(repository),
        "PATH": "/usr/bin:/bin:/usr/local/bin",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=repository, input=stdin, capture_output=True, check=True, env=environment
    )
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    for path, inside in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(inside)
    git(tmp_path, "add", "--all")
    return tmp_path


def test_blobs_and_trees_have_the_names_that_git_gives_them(repository: Path) -> None:
    oids = {path: content.names_of(repository / path).git_oid for path in FILES}

    assert oids == {path: git(repository, "hash-object", path) for path in FILES}
    assert gitnames.tree_oid(oids) == git(repository, "write-tree")


@pytest.mark.parametrize("parent", [None, "1" * 40])
def test_commits_have_the_names_that_git_gives_them(repository: Path, parent: str | None) -> None:
    tree = git(repository, "write-tree")
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ours = gitnames.commit_oid(
        tree=tree,
        parent=parent,
        author=gitnames.Author.called("ada"),
        message="first\n\nand more",
        at=at,
        adapter="ada/x",
    )
    who = f"ada <ada@users.noreply> {int(at.timestamp())} +0000"
    parents = f"parent {parent}\n" if parent else ""
    text = f"tree {tree}\n{parents}author {who}\ncommitter {who}\nadapter ada/x\n\nfirst\n\nand more"

    assert ours == git(
        repository, "hash-object", "-t", "commit", "--literally", "--stdin", stdin=text.encode()
    )
