"""Every trap that an upload can hold is found by the check that is for it, and a good adapter passes without a word."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from routing.base import inspect_base
from routing.checks.static import STATIC_CHECKS, run_static_checks
from routing.lora_config import IGNORED, REFUSED, SUPPORTED
from routing.spec import BaseRef
from tests.routing.checks.uploads import (
    CONFIG,
    FIRST,
    TENSORS,
    Spoil,
    edit_header,
    edit_tensors,
    good_header,
    good_upload,
    replace_header,
    set_config,
    spec,
    write_config,
    write_file,
)
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_llama

A, B = f"{FIRST}.lora_A.weight", f"{FIRST}.lora_B.weight"


def entry(header: dict[str, Any], **changes: Any) -> None:
    header[A] |= changes


def shift(header: dict[str, Any], begin: int, end: int) -> None:
    header[A]["data_offsets"] = [header[A]["data_offsets"][0] + begin, header[A]["data_offsets"][1] + end]


def one_twice(directory: Path) -> None:
    """The second of two equal names is what a lenient reader takes."""
    header, data = good_header()
    text = json.dumps(header)
    replace_header(f"{text[:-1]},{json.dumps(A)}:{json.dumps(header[A])}}}".encode(), data=data)(directory)


def only_a_pickle(directory: Path) -> None:
    (directory / TENSORS).rename(directory / "adapter_model.bin")


def shards(directory: Path) -> None:
    (directory / TENSORS).rename(directory / "adapter_model-00001-of-00002.safetensors")


def folder_for_a_configuration(directory: Path) -> None:
    (directory / CONFIG).unlink()
    (directory / CONFIG).mkdir()


def nothing_of_a_lora(tensors: dict[str, torch.Tensor]) -> None:
    tensors.clear()
    tensors["x"] = torch.zeros(1, 1)


def rank_300(directory: Path) -> None:
    set_config(r=300)(directory)
    edit_tensors(lambda tensors: tensors.update({A: torch.zeros(300, 32), B: torch.zeros(32, 300)}))(
        directory
    )


def stranger(name: str) -> Spoil:
    return edit_tensors(lambda tensors: tensors.update({name: torch.zeros(4, 4)}))


def dtype_of_one(dtype: object) -> Spoil:
    return edit_header(lambda header: entry(header, dtype=dtype))


def other_tokenizer(directory: Path) -> None:
    content = json.loads((tiny_llama() / "tokenizer.json").read_text())
    content["added_tokens"].append({"id": 320, "content": "<new>"})
    (directory / "tokenizer.json").write_text(json.dumps(content))


def other_base(directory: Path) -> None:
    shutil.rmtree(directory)
    tiny_adapter(directory, tiny_gpt2())


WIDE = torch.zeros(4, 33)
BOMB = json.dumps(
    {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_002)}
).encode()
DEEP_HEADER = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

# name of the trap: (how to set it, the check that finds it, the file, a part of the field or of what was found)
TRAPS: dict[str, tuple[Spoil, str, str, str]] = {
    # files
    "only a pickle": (only_a_pickle, "files", TENSORS, "adapter_model.bin"),
    "no tensors": (lambda d: (d / TENSORS).unlink(), "files", TENSORS, "no such file"),
    "tensors in shards": (shards, "files", TENSORS, "00001-of-00002"),
    "another tokenizer": (other_tokenizer, "tokenizer", "tokenizer.json", "another vocabulary"),
    # the configuration as JSON
    "no configuration": (lambda d: (d / CONFIG).unlink(), "adapter-config", CONFIG, "no such file"),
    "a folder for a configuration": (
        folder_for_a_configuration, "adapter-config", CONFIG, "no such file"
    ),
    "65 kB of configuration": (write_config(b" " * 66_000), "adapter-config", CONFIG, "66000 bytes"),
    "a list": (write_config(b"[]"), "adapter-config", CONFIG, "list"),
    "no JSON": (write_config(b"{"), "adapter-config", CONFIG, "Expecting"),
    "UTF-16": (write_config('{"r": 8}'.encode("utf-16")), "adapter-config", CONFIG, "not UTF-8"),
    "a byte order mark": (write_config(b"\xef\xbb\xbf{}"), "adapter-config", CONFIG, "BOM"),
    "a key twice": (write_config(b'{"r": 4, "r": 8}'), "adapter-config", CONFIG, "twice"),
    "NaN": (write_config(b'{"lora_alpha": NaN}'), "adapter-config", CONFIG, "NaN"),
    "Infinity": (write_config(b'{"lora_alpha": -Infinity}'), "adapter-config", CONFIG, "Infinity"),
    "a number beyond floats": (write_config(b'{"lora_alpha": 1e400}'), "adapter-config", CONFIG, "1e400"),
    "a number of 5000 digits": (write_config(b'{"r": ' + b"9" * 5000 + b"}"), "adapter-config", CONFIG, "a number of 5000 digits"),
    "deep nesting": (write_config(b'{"x": [[[[[[[]]]]]]]}'), "adapter-config", CONFIG, "nesting"),
    "nesting without end": (write_config(b"[" * 30_000 + b"]" * 30_000), "adapter-config", CONFIG, "nested"),
    "half a surrogate": (write_config(b'{"x": "\\ud800"}'), "adapter-config", CONFIG, "surrogate"),
    # the configuration as settings
    "not a LoRA": (set_config(peft_type="LOHA"), "adapter-config", CONFIG, "peft_type"),
    "no kind": (set_config(peft_type=None), "adapter-config", CONFIG, "peft_type"),
    "not a causal LM": (set_config(task_type="SEQ_CLS"), "adapter-config", CONFIG, "task_type"),
    "biases": (set_config(bias="all"), "adapter-config", CONFIG, "bias"),
    "an unknown setting": (set_config(use_novelty=True), "adapter-config", CONFIG, "use_novelty"),
    "a mapping to another library": (
        set_config(auto_mapping={"base_model_class": "X", "parent_library": "os.path"}), "adapter-config", CONFIG, "auto_mapping"
    ),
    "rank as text": (set_config(r="4"), "adapter-config", CONFIG, "r"),
    "rank as a boolean": (set_config(r=True), "adapter-config", CONFIG, "r"),
    "a rank of 200000": (set_config(r=200_000), "adapter-config", CONFIG, "200000"),
    "a rank of zero": (set_config(r=0), "adapter-config", CONFIG, "r"),
    "a negative alpha": (set_config(lora_alpha=-16), "adapter-config", CONFIG, "lora_alpha"),
    "alpha as text": (set_config(lora_alpha="16"), "adapter-config", CONFIG, "lora_alpha"),
    "alpha as a boolean": (set_config(lora_alpha=True), "adapter-config", CONFIG, "lora_alpha"),
    "rslora as text": (set_config(use_rslora="yes"), "adapter-config", CONFIG, "use_rslora"),
    "a pattern for ranks": (set_config(rank_pattern={"(a+)+$": 4}), "adapter-config", CONFIG, "rank_pattern.(a+)+$"),
    "a pattern for alphas": (set_config(alpha_pattern={".*q_proj": 4}), "adapter-config", CONFIG, "alpha_pattern..*q_proj"),
    "a huge rank in a pattern": (set_config(rank_pattern={"q_proj": 10**9}), "adapter-config", CONFIG, "rank_pattern.q_proj"),
    "a list for a pattern": (set_config(alpha_pattern=[1]), "adapter-config", CONFIG, "alpha_pattern"),
    # configuration against tensors
    "alpha far above the rank": (set_config(lora_alpha=1e30), "tensors-fit-base", CONFIG, "q_proj"),
    "alpha far above one rank": (set_config(alpha_pattern={"o_proj": 1000}), "tensors-fit-base", CONFIG, "o_proj"),
    "a rank that lies upwards": (set_config(r=8), "tensors-fit-base", TENSORS, "rank 4"),
    "a rank that lies downwards": (set_config(r=2), "tensors-fit-base", TENSORS, "rank 4"),
    "tensors of rank 300": (rank_300, "tensors-fit-base", TENSORS, "rank 300"),
    "a pattern that lies": (set_config(rank_pattern={"q_proj": 2}), "tensors-fit-base", TENSORS, "q_proj"),
    "a declared target without tensors": (
        edit_tensors(lambda t: (t.pop(A), t.pop(B))), "targets", TENSORS, "layers.0.self_attn.q_proj"
    ),
    "tensors that are not declared": (set_config(target_modules=["q_proj"]), "targets", CONFIG, "target_modules"),
    "another base": (other_base, "base-name", CONFIG, "base_model_name_or_path"),
    # tensors against the base
    "A without B": (edit_tensors(lambda t: t.pop(B)), "tensors-fit-base", TENSORS, "lora_B"),
    "B without A": (edit_tensors(lambda t: t.pop(A)), "tensors-fit-base", TENSORS, "lora_A"),
    "no LoRA at all": (
        edit_tensors(nothing_of_a_lora), "tensors-fit-base", TENSORS, "no LoRA tensors"
    ),
    "A of another width": (edit_tensors(lambda t: t.update({A: WIDE})), "tensors-fit-base", TENSORS, A),
    "B of another width": (edit_tensors(lambda t: t.update({B: WIDE.T})), "tensors-fit-base", TENSORS, B),
    "B of another rank": (edit_tensors(lambda t: t.update({B: t[B][:, :2]})), "tensors-fit-base", TENSORS, B),
    "a module that the base lacks": (
        edit_tensors(lambda t: t.update({A.replace("layers.0", "layers.9"): t[A]})), "tensors-fit-base", TENSORS, "layers.9"
    ),
    **{
        f"a stranger: {name}": (stranger(name), "tensors-fit-base", TENSORS, what)
        for name, what in {
            "base_model.model.lm_head.weight": "the output head",
            "base_model.model.model.embed_tokens.weight": "token embeddings",
            "base_model.model.model.embed_tokens.lora_embedding_A": "token embeddings",
            "base_model.model.model.norm.weight": "a weight of the base",
            f"{FIRST}.base_layer.weight": "a weight of the base",
            f"{FIRST}.lora_magnitude_vector.weight": "a DoRA magnitude",
            f"{FIRST}.lora_A.other.weight": "a name that PEFT does not write",
            "../../../etc/passwd": "../../../etc/passwd",
        }.items()
    },
    # the tensor file itself
    "an empty file": (write_file(TENSORS, b""), "tensor-file", TENSORS, "header"),
    "a header beyond the file": (replace_header(b"{}", length=2**40), "tensor-file", TENSORS, "header"),
    "a header that ends beyond the file": (replace_header(b"{}", length=100), "tensor-file", TENSORS, "in a file of 10"),
    "a header of 2^63 bytes": (replace_header(b"{}", length=2**63), "tensor-file", TENSORS, "header"),
    "a header above the cap": (replace_header(b"{" + b" " * 2**23 + b"}"), "tensor-file", TENSORS, "8388610"),
    "a header of 20002 tensors": (replace_header(BOMB), "tensor-file", TENSORS, "20002 tensors"),
    "a header nested without end": (replace_header(DEEP_HEADER), "tensor-file", TENSORS, "nested"),
    "a header that begins with spaces": (replace_header(b"  {}"), "tensor-file", TENSORS, "b' '"),
    "a header that is a list": (replace_header(b"[]"), "tensor-file", TENSORS, "b'['"),
    "a name twice": (one_twice, "tensor-file", TENSORS, "twice"),
    "65 kB of metadata": (edit_header(lambda h: h.update(__metadata__={"x": "y" * 66_000})), "tensor-file", TENSORS, "__metadata__"),
    "metadata that is no text": (edit_header(lambda h: h.update(__metadata__={"x": 1})), "tensor-file", TENSORS, "__metadata__"),
    "an unknown field": (edit_header(lambda h: entry(h, extra=1)), "tensor-file", TENSORS, "extra"),
    "a missing field": (edit_header(lambda h: h[A].pop("dtype")), "tensor-file", TENSORS, A),
    "an entry that is a number": (edit_header(lambda h: h.update({A: 7})), "tensor-file", TENSORS, A),
    **{
        f"the type {dtype}": (dtype_of_one(dtype), "tensor-file", TENSORS, f"dtype {dtype}")
        for dtype in ("U8", "BOOL", "I64", "F64", "F8_E4M3", "F4", "C64", 7)
    },
    "one dimension": (edit_header(lambda h: entry(h, shape=[128])), "tensors-fit-base", TENSORS, "shape [128]"),
    "three dimensions": (edit_header(lambda h: entry(h, shape=[4, 4, 8])), "tensor-file", TENSORS, "shape"),
    "5000 dimensions": (edit_header(lambda h: entry(h, shape=[1] * 5000)), "tensor-file", TENSORS, "shape"),
    "no rows": (edit_header(lambda h: entry(h, shape=[0, 2**62])), "tensor-file", TENSORS, "shape"),
    "negative rows": (edit_header(lambda h: entry(h, shape=[-4, -32])), "tensor-file", TENSORS, "shape"),
    "boolean rows": (edit_header(lambda h: entry(h, shape=[True, 128])), "tensor-file", TENSORS, "shape"),
    "a shape unlike its bytes": (edit_header(lambda h: entry(h, shape=[4, 31])), "tensor-file", TENSORS, "bytes for F32"),
    "an end before its beginning": (edit_header(lambda h: entry(h, data_offsets=[8, 0])), "tensor-file", TENSORS, "data_offsets"),
    "overlapping tensors": (edit_header(lambda h: shift(h, -4, -4)), "tensor-file", TENSORS, "overlapping"),
    "a hole": (edit_header(lambda h: shift(h, 10**6, 10**6)), "tensor-file", TENSORS, "unused bytes"),
    "bytes after the last tensor": (lambda d: (d / TENSORS).write_bytes((d / TENSORS).read_bytes() + b"PK"), "tensor-file", TENSORS, "bytes of data"),
    "a truncated file": (
        lambda d: (d / TENSORS).write_bytes((d / TENSORS).read_bytes()[:-9]), "tensor-file", TENSORS, "bytes of data"
    ),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_an_error_of_its_check_that_names_the_place(tmp_path: Path, trap: str) -> None:
    spoil, check, file, where = TRAPS[trap]
    spoil(good_upload(tmp_path))

    errors = [f for f in run_static_checks(tmp_path, spec()) if f.severity == "error"]

    hits = [f for f in errors if (f.check, f.file) == (check, file) and where in f"{f.field} {f.found}"]
    assert hits, "\n".join(map(str, errors))
    assert all(finding.found and finding.expected for finding in errors)


@pytest.mark.parametrize("setting", sorted(REFUSED))
def test_a_setting_that_changes_the_update_is_refused_with_its_reason(tmp_path: Path, setting: str) -> None:
    set_config(**{setting: True})(good_upload(tmp_path))

    (finding,) = run_static_checks(tmp_path, spec())

    assert (finding.severity, finding.field) == ("error", setting)
    assert REFUSED[setting] in finding.expected
    assert finding.fix


@pytest.mark.parametrize(
    "initialisation", ["pissa", "pissa_niter_999999999", "olora", "corda", "loftq", "lora_ga", "mica", 1, [1]]
)
def test_an_initialisation_that_changed_the_base_is_refused(tmp_path: Path, initialisation: object) -> None:
    set_config(init_lora_weights=initialisation)(good_upload(tmp_path))

    (finding,) = run_static_checks(tmp_path, spec())

    assert (finding.severity, finding.field) == ("error", "init_lora_weights")
    assert "path_initial_model_for_weight_conversion" in finding.fix


@pytest.mark.parametrize("initialisation", [True, False, "gaussian", "eva", "orthogonal"])
def test_an_initialisation_that_left_the_base_alone_passes(tmp_path: Path, initialisation: object) -> None:
    set_config(init_lora_weights=initialisation)(good_upload(tmp_path))

    assert run_static_checks(tmp_path, spec()) == []


def test_every_setting_that_peft_writes_is_in_exactly_one_table(tmp_path: Path) -> None:
    written = set(json.loads((good_upload(tmp_path) / CONFIG).read_text()))
    by_value = {"auto_mapping", "bias", "init_lora_weights", "task_type"}

    assert written <= SUPPORTED | IGNORED | set(REFUSED) | by_value
    tables = [SUPPORTED, IGNORED, frozenset(REFUSED), frozenset(by_value)]
    assert sum(map(len, tables)) == len(frozenset().union(*tables))


@pytest.mark.parametrize(
    ("base", "options"),
    [
        (tiny_llama, {}),
        (tiny_llama, {"rank": 40}),
        (tiny_llama, {"layers": [1], "targets": ["q_proj", "mlp.up_proj"], "rslora": True}),
        (tiny_llama, {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"model.layers.1.mlp.up_proj": 1}}),
        (tiny_gpt2, {}),
        (tiny_gpt2, {"layers": [0], "targets": ["c_proj"]}),
    ],
)
def test_what_peft_saves_passes_without_an_error(tmp_path: Path, base: Any, options: dict[str, Any]) -> None:
    from_peft = tiny_adapter(tmp_path, base(), **options)

    findings = run_static_checks(from_peft, inspect_base(BaseRef(str(base())), name=base().name))

    assert [f for f in findings if f.severity == "error"] == []


def test_other_files_are_named_and_ignored(tmp_path: Path) -> None:
    good_upload(tmp_path)
    for name in ("training_args.bin", "checkpoint-5/optimizer.pt", "modelling.py", "notes.txt"):
        write_file(name)(tmp_path)

    found = {finding.file: finding for finding in run_static_checks(tmp_path, spec())}

    assert set(found) == {"training_args.bin", "checkpoint-5/optimizer.pt", "modelling.py", "notes.txt"}
    assert {finding.severity for finding in found.values()} == {"warning"}
    assert "run code" in found["training_args.bin"].found
    assert "program" in found["modelling.py"].found


def test_the_bases_own_tokenizer_passes_however_it_is_spelled(tmp_path: Path) -> None:
    good_upload(tmp_path)
    content = json.loads((tiny_llama() / "tokenizer.json").read_text()) | {
        "padding": {"strategy": "BatchLongest"}
    }
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content, indent=7))

    assert run_static_checks(tmp_path, spec()) == []


def test_a_base_of_another_name_passes_with_a_warning_when_everything_fits(tmp_path: Path) -> None:
    set_config(base_model_name_or_path="/home/me/models/renamed")(good_upload(tmp_path))

    (finding,) = run_static_checks(tmp_path, spec())

    assert (finding.check, finding.severity) == ("base-name", "warning")
    assert finding.found == "/home/me/models/renamed"


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    good_upload(tmp_path)
    set_config(use_dora=True, lora_alpha=-1, base_model_name_or_path="x")(tmp_path)
    edit_tensors(lambda tensors: tensors.pop(B))(tmp_path)
    other_tokenizer(tmp_path)

    checks = {finding.check for finding in run_static_checks(tmp_path, spec())}

    assert checks == {"adapter-config", "tensors-fit-base", "tokenizer", "base-name"}


def test_no_control_character_of_an_upload_reaches_a_finding(tmp_path: Path) -> None:
    poison = "\x1b[31m\x00\u202e\u200b\n"
    good_upload(tmp_path)
    set_config(
        peft_type=poison, base_model_name_or_path=poison, rank_pattern={poison: poison}, **{poison: 1}
    )(tmp_path)
    edit_header(lambda header: header.update({poison: {poison: 1}}))(tmp_path)
    write_file("a\x1b\x07\u202eb")(tmp_path)

    text = "".join("".join(finding.to_json().values()) for finding in run_static_checks(tmp_path, spec()))

    assert text.isprintable()
    assert "\\x1b" in text


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "modules_to_save", "layers_pattern"])
def test_no_pattern_of_an_upload_is_run(tmp_path: Path, field: str) -> None:
    set_config(**{field: "(x+x+)+y" + "x" * 20, "rank_pattern": {"(x+x+)+y": 4}})(good_upload(tmp_path))
    edit_tensors(lambda tensors: tensors.update({"x" * 5000: torch.zeros(1, 1)}))(tmp_path)
    ticks = threading.Event()
    threading.Timer(0, ticks.set).start()

    findings = run_static_checks(tmp_path, spec())

    assert findings
    assert ticks.wait(5)


def test_the_static_checks_run_in_a_child_without_torch(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(spec().to_json()))
    only_a_pickle(good_upload(tmp_path / "upload"))
    probe = (
        "import runpy, sys; sys.argv = ['checks', *sys.argv[1:]]; "
        "runpy.run_module('routing.checks', run_name='__main__'); "
        "print({'torch', 'numpy', 'safetensors'} & set(sys.modules), file=sys.stderr)"
    )

    child = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path / "upload"), str(tmp_path / "spec.json")],
        capture_output=True,
        text=True,
        check=True,
    )

    (finding,) = json.loads(child.stdout)["findings"][:1]
    assert (finding["severity"], finding["file"]) == ("error", TENSORS)
    assert child.stderr.strip() == "set()"


def test_each_static_check_says_what_it_is_for() -> None:
    assert all(check.__doc__ for check in STATIC_CHECKS)
