"""What a file in an upload may be called (RELIABILITY A1, A2, A5): the same rules for archives and for single
files.
"""

import re
import unicodedata
from collections.abc import Sequence

from django.conf import settings

from hub.errors import FindingJson

PRINTABLE = re.compile(r"[\x20-\x7e]+\Z")
DRIVE = re.compile(r"[A-Za-z]:")
LITTER = re.compile(r"(?:.*/)?(?:__MACOSX(?:/.*)?|\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini)\Z")
PACK_AGAIN = (
    "Pack the adapter's folder again with an ordinary program, for example `tar czf adapter.tar.gz folder/`, "
    "or upload the files themselves."
)
FIXES = {
    "archive-has-few-members": "Pack the adapter's folder only, without checkpoints of the training.",
    "archive-holds-files-only": "Pack plain files only; `tar --dereference` replaces links.",
    "archive-is-no-bomb": "Pack the adapter's folder only, or upload its files one by one.",
    "archive-is-not-nested": "Upload adapter_config.json, adapter_model.safetensors and README.md only.",
    "archive-is-plain": PACK_AGAIN,
    "archive-is-what-its-name-says": PACK_AGAIN,
    "archive-reads-one-way": PACK_AGAIN,
    "path-is-safe": "Rename the file, or run the packing program inside the adapter's folder.",
    "path-is-unique": "Rename or remove one of the two.",
    "upload-has-few-files": "Upload the adapter's folder only, without checkpoints of the training.",
    "upload-has-files": "Choose the folder that peft's save_pretrained wrote.",
}


def finding(check: str, file: str, *, found: str, expected: str, field: str = "") -> FindingJson:
    """One thing that is wrong with the files as such."""
    return {
        "check": check,
        "severity": "error",
        "file": file,
        "field": field,
        "found": found,
        "expected": expected,
        "fix": FIXES[check],
    }


def check_paths(paths: Sequence[str]) -> list[FindingJson]:
    """Everything that is wrong with a set of paths; empty when they can be a tree."""
    findings = [complaint for path in paths for complaint in check_path(path)]
    if not paths:
        findings.append(
            finding("upload-has-files", "", found="no files", expected="an adapter folder, as peft saves it")
        )
    if len(paths) > settings.LIMITS.members:
        findings.append(
            finding(
                "upload-has-few-files",
                "",
                found=f"{len(paths)} files",
                expected=f"at most {settings.LIMITS.members}",
            )
        )
    return findings or _check_twins(paths)


def check_path(path: str) -> list[FindingJson]:
    """Everything that is wrong with one path."""
    complaints = []
    if not PRINTABLE.match(path):
        complaints.append("only printable ASCII characters")
    if path.startswith("/") or "\\" in path or DRIVE.match(path):
        complaints.append("a relative path with forward slashes")
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        complaints.append("no empty part, '.' or '..'")
    if any(part != part.strip() or part.endswith(".") for part in parts if part not in {"", ".", ".."}):
        complaints.append("no part that begins or ends with a space, or ends with a dot")
    if len(path) > settings.LIMITS.path_length or len(parts) > settings.LIMITS.path_depth:
        complaints.append(
            f"at most {settings.LIMITS.path_length} characters and {settings.LIMITS.path_depth} parts"
        )
    return [
        finding(
            "path-is-safe", ascii(path)[1:-1][:200], field="name", found=ascii(path)[:200], expected=complaint
        )
        for complaint in complaints
    ]


def is_litter(path: str) -> bool:
    """Files that operating systems leave behind; dropped in silence."""
    return bool(LITTER.match(path))


def without_common_folder(paths: Sequence[str]) -> list[str]:
    """The paths as seen from the one folder that holds them all, if there is one."""
    heads = {path.partition("/")[0] for path in paths}
    if len(heads) == 1 and all("/" in path for path in paths):
        return [path.partition("/")[2] for path in paths]
    return list(paths)


def _check_twins(paths: Sequence[str]) -> list[FindingJson]:
    """Two names that some file system or reader would take for one, and a file where another needs a
    folder.
    """
    findings = []
    seen: dict[str, str] = {}
    for path in paths:
        key = _as_seen_by_the_careless(path)
        if key in seen:
            findings.append(
                finding(
                    "path-is-unique",
                    path,
                    field="name",
                    found=f"{path!r} and {seen[key]!r}",
                    expected="names that differ in more than case",
                )
            )
        seen[key] = path
    folders = {
        key.rsplit("/", depth)[0]: path
        for key, path in seen.items()
        for depth in range(1, key.count("/") + 1)
    }
    findings += [
        finding(
            "path-is-unique",
            seen[key],
            field="name",
            found=f"a file, and a folder of that name for {folders[key]!r}",
            expected="one of them",
        )
        for key in folders.keys() & seen.keys()
    ]
    return findings


def _as_seen_by_the_careless(path: str) -> str:
    folded = unicodedata.normalize("NFKC", path).casefold()
    return "/".join(part.strip() for part in folded.split("/"))
