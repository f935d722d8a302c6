r"""Names as git computes them, so that a release can be spoken of as a commit by any Hugging Face client.

Git's object format: sha1 of `<type> <length>\0` and the content; trees sort directories as if they ended in
`/`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

FILE_MODE = b"100644"
FOLDER_MODE = b"40000"


@dataclass(frozen=True)
class Author:
    """Who made a commit, as git writes it."""

    name: str
    email: str

    @classmethod
    def called(cls, username: str) -> "Author":
        """Commits are public, so they carry no real mail address."""
        return cls(username, f"{username}@users.noreply")


def blob_oid(content: bytes) -> str:
    """The oid of a file with this content."""
    return _oid("blob", content)


def tree_oid(files: Mapping[str, str]) -> str:
    """The oid of the tree of these files, given as path -> blob oid."""
    folders: dict[str, dict[str, str]] = {}
    entries: list[tuple[bytes, bytes, str]] = []
    for path, oid in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(head, {})[rest] = oid
        else:
            entries.append((head.encode(), FILE_MODE, oid))
    entries += [(name.encode(), FOLDER_MODE, tree_oid(inside)) for name, inside in folders.items()]
    entries.sort(key=lambda entry: entry[0] + (b"/" if entry[1] == FOLDER_MODE else b""))
    return _oid(
        "tree", b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for name, mode, oid in entries)
    )


def commit_oid(
    *, tree: str, parent: str | None, author: Author, message: str, at: datetime, adapter: str
) -> str:
    """The oid of a commit. One header of our own names the adapter: the same files may be released under two
    names.
    """
    who = f"{author.name} <{author.email}> {int(at.timestamp())} +0000"
    lines = [
        f"tree {tree}",
        *([f"parent {parent}"] if parent else []),
        f"author {who}",
        f"committer {who}",
        f"adapter {adapter}",
        "",
        message,
    ]
    return _oid("commit", "\n".join(lines).encode())


def _oid(kind: str, content: bytes) -> str:
    return hashlib.sha1(
        b"%s %d\0" % (kind.encode(), len(content)) + content, usedforsecurity=False
    ).hexdigest()
