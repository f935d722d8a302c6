"""Which files an upload holds: the two that are needed, a few that are known, and the rest, never opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from routing.checks.gates import GATE_FILES
from routing.config_document import CONFIG_FILE
from routing.finding import Finding
from routing.spec import BaseSpec
from routing.tensor_names import TENSOR_FILE
from routing.tokenizer_files import PRESENTATION_FILES, VOCABULARY_FILES, meaning_digest

KNOWN = frozenset(
    {
        CONFIG_FILE,
        TENSOR_FILE,
        *GATE_FILES,
        "README.md",
        "LICENSE",
        "LICENSE.md",
        "LICENSE.txt",
        ".gitattributes",
    }
)
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"})
PROGRAMS = frozenset({".py", ".pyc", ".sh", ".so", ".dll", ".exe", ".ipynb"})
MAX_LISTED = 50
UNNEEDED = "Leave it out unless other readers of the adapter need it."
CONVERT = (
    'Convert it where you trained it: python -c "import torch; from safetensors.torch import save_file; '
    "save_file({k: v.contiguous() for k, v in torch.load('adapter_model.bin', weights_only=True).items()}, "
    "'adapter_model.safetensors')\""
)


def tensors_are_safetensors(directory: Path, spec: BaseSpec) -> Iterator[Finding]:  # noqa: ARG001
    """Only safetensors can be read without running what a stranger wrote."""
    if (directory / TENSOR_FILE).is_file():
        return
    others = sorted(path.name for path in directory.glob("*.safetensors*"))
    if (directory / "adapter_model.bin").is_file():
        found, fix = "only adapter_model.bin, a pickle, which can run code when it is opened", CONVERT
    elif others:
        found, fix = ", ".join(others), "Upload the adapter as one file, as PEFT's save_pretrained writes it."
    else:
        found, fix = "no such file", "Upload the folder that PEFT's save_pretrained wrote."
    yield Finding("files", "error", TENSOR_FILE, "", found, "the adapter's tensors as safetensors", fix)


def other_files_are_ignored(directory: Path, spec: BaseSpec) -> Iterator[Finding]:  # noqa: ARG001
    """Whatever else is there is kept for those who download it, but nothing here opens it."""
    strangers = [
        path
        for path in sorted(directory.rglob("*"))
        if not path.is_dir()
        and (path.parent != directory or path.name not in {*KNOWN, *VOCABULARY_FILES, *PRESENTATION_FILES})
    ]
    for path in strangers[:MAX_LISTED]:
        name = path.relative_to(directory).as_posix()
        expected = "only what belongs to the adapter"
        yield Finding("files", "warning", name, "", _what(path), expected, UNNEEDED)
    if len(strangers) > MAX_LISTED:
        found = f"{len(strangers) - MAX_LISTED} more files that are ignored"
        yield Finding(
            "files", "warning", ".", "", found, f"{CONFIG_FILE}, {TENSOR_FILE} and a README.md", UNNEEDED
        )


def tokenizer_is_the_bases(directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    """All experts of a library read the same ids: an expert trained on others would read nonsense."""
    for name in VOCABULARY_FILES:
        path, expected = directory / name, spec.tokenizer_files.get(name)
        if not path.is_file():
            continue
        if expected is None:
            fix = "Leave the tokenizer out; the base's own is used."
            found = "a tokenizer file that the base does not have, ignored"
            yield Finding("tokenizer", "warning", name, "", found, "no tokenizer, or the base's", fix)
        elif meaning_digest(path) != expected:
            fix = "Train on the base's tokenizer without adding tokens, and leave it out of the upload."
            found = "another vocabulary than the base's"
            yield Finding("tokenizer", "error", name, "", found, f"the tokenizer of {spec.name}", fix)


def _what(path: Path) -> str:
    if path.suffix in PICKLES:
        return "a file that can run code when it is opened; it is ignored and never opened"
    if path.suffix in PROGRAMS:
        return "a program; it is ignored and never run"
    return "a file that routing does not use; it is ignored"
