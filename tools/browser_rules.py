"""Write what the upload page's checks know of adapters, from the tables of the hub's own checks."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from routing import config_document, ia3_config, lora_config, lora_layout, tensor_header, tensor_names
from routing.checks import files, samples
from routing.refused_kinds import REFUSED_KINDS, refused_kind
from routing.tokenizer_files import PRESENTATION_FILES, VOCABULARY_FILES

PLACE = Path("hub/static/fletch/upload/rules.json")
SAVE_JSON_AGAIN = "Save it again with PEFT's save_pretrained."
BY_VALUE = {"auto_mapping", "task_type"}


def rules() -> dict[str, Any]:
    """Tables, limits and sentences that are the same in a browser and in a worker."""
    return {
        "names": {"config": config_document.CONFIG_FILE, "tensors": tensor_names.TENSOR_FILE},
        "save_json_again": SAVE_JSON_AGAIN,
        "families": {
            "causal": {"task": "CAUSAL_LM", "said": "a causal language model"},
            "encoder-decoder": {"task": "SEQ_2_SEQ_LM", "said": "an encoder-decoder"},
        },
        "files": _files(),
        "config": {
            "largest": config_document.MAX_CONFIG,
            "depth": config_document.MAX_DEPTH,
            "tasks": list(config_document.TASK_TYPES),
        },
        "lora": _lora(),
        "ia3": {
            "known": sorted({*ia3_config.SUPPORTED, *ia3_config.IGNORED, *ia3_config.REFUSED, *BY_VALUE}),
            "refused": dict(ia3_config.REFUSED),
            "literal": ia3_config.LITERAL,
            "subset": ia3_config.SUBSET,
        },
        "kinds": {name: asdict(kind) for name, kind in REFUSED_KINDS.items()},
        "unknown_kind": asdict(refused_kind(None)),
        "header": _header(),
        "tensors": _tensors(),
        "rows": {
            "largest": samples.MAX_BYTES,
            "most": samples.MAX_ROWS,
            "characters": samples.MAX_CHARACTERS,
            "roles": list(samples.ROLES),
        },
    }


def _files() -> dict[str, Any]:
    return {
        "known": sorted({*files.KNOWN, *VOCABULARY_FILES, *PRESENTATION_FILES}),
        "vocabulary": list(VOCABULARY_FILES),
        "pickles": sorted(files.PICKLES),
        "programs": sorted(files.PROGRAMS),
        "listed": files.MAX_LISTED,
        "unneeded": files.UNNEEDED,
        "convert": files.CONVERT,
        "no_tensors_fix": "Upload the folder that PEFT's save_pretrained wrote.",
    }


def _lora() -> dict[str, Any]:
    known = {*lora_config.SUPPORTED, *lora_config.IGNORED, *lora_config.REFUSED, *BY_VALUE}
    return {
        "known": sorted({*known, "bias", "init_lora_weights"}),
        "refused": dict(lora_config.REFUSED),
        "changes_base": lora_config.CHANGES_BASE,
        "convert": lora_config.CONVERT,
        "train_plain": lora_config.TRAIN_PLAIN,
        "initialisations": list(lora_config.PLAIN_INITIALISATIONS),
        "largest_rank": lora_config.MAX_RANK,
    }


def _header() -> dict[str, Any]:
    return {
        "dtypes": dict(tensor_header.DTYPE_BYTES),
        "largest": tensor_header.MAX_HEADER,
        "most": tensor_header.MAX_TENSORS,
        "metadata": tensor_header.MAX_METADATA,
        "dimension": tensor_header.MAX_DIMENSION,
        "save_again": tensor_header.SAVE_AGAIN,
    }


def _tensors() -> dict[str, Any]:
    return {
        "prefix": tensor_names.PREFIX,
        "lora_parts": dict(lora_layout.LORA_PARTS),
        "file_names": dict(lora_layout.FILE_NAMES),
        "strangers": [[what, list(marks)] for what, marks in tensor_names.STRANGERS],
        "no_dora": lora_layout.NO_DORA,
        "other_base": tensor_names.OTHER_BASE,
        "save_again": tensor_names.SAVE_AGAIN,
        "largest_rank": lora_config.MAX_RANK,
        "alpha_per_rank": lora_config.MAX_ALPHA_PER_RANK,
    }


def written() -> str:
    """The file as it should be."""
    return json.dumps(rules(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PLACE.read_text() != written() and f"{PLACE} is stale: run python -m tools.browser_rules")
    PLACE.write_text(written())
