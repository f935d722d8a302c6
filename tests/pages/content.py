"""Something to look at: libraries, adapters and releases in every state, made through the hub's own services.

The numbers are invented but shaped like real ones; nothing here computes anything.
"""

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.models import Adapter, Release
from hub.errors import FindingJson
from hub.exports.models import Export
from hub.indexes import checkpoints
from hub.indexes import services as indexes
from hub.indexes.models import ComposedCheckpoint
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library import services as libraries
from hub.library.models import Library
from hub.reports.models import Report
from tests.hub import making
from tests.pages import people
from tests.pages.exported import exports_in_every_state
from tests.pages.numbers import fingerprint, weights

LAYERS = 12
KINDS = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
LONG = "a-very-long-adapter-name-that-somebody-thought-was-a-good-idea-because-it-says-everything-at-once"[
    :96
]
WORDS = (
    "poetry",
    "chess-openings",
    "sql-queries",
    "legal-summaries",
    "haiku",
    "regex-explainer",
    "unit-tests",
    "recipes",
)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"

CARD = """---
license: apache-2.0
base_model: fletch/demo-base
language: [en, de]
tags: [lora, poetry]
---
# Poetry in the manner of hymns

Writes **rhymed quatrains** about whatever the prompt names. Trained for three epochs on 4,200 poems that are out of
copyright; see [how it was made](https://example.org/poetry).

## Intended use

1. A line with a theme, for example `Theme: the sea`
2. An empty line

```python
prompt = "Theme: the sea\\n\\n"
```

| split | loss | accuracy |
|---|---|---|
| train | 1.91 | 0.62 |
| held out | 2.07 | 0.58 |

> It does not do free verse.

![a chart of the loss](https://example.org/loss.png)
"""

FINDINGS: list[FindingJson] = [
    {
        "check": "tensors-match-config",
        "severity": "error",
        "file": "adapter_model.safetensors",
        "field": "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight",
        "found": "shape [8, 512]",
        "expected": "shape [8, 576]: rank 8 of adapter_config.json, width 576 of the base's q_proj",
        "fix": "Train on the base of this library, or upload to the library of the base that it was trained on.",
    },
    {
        "check": "both-halves",
        "severity": "error",
        "file": "adapter_model.safetensors",
        "field": "base_model.model.model.layers.7.mlp.down_proj",
        "found": "lora_A without lora_B",
        "expected": "both halves of each update",
        "fix": "Save again with peft's save_pretrained, which writes both.",
    },
    {
        "check": "card",
        "severity": "warning",
        "file": "README.md",
        "field": "license",
        "found": "nothing",
        "expected": "a licence, for example apache-2.0",
        "fix": "Add `license:` to the front matter, so that others know what they may do.",
    },
]
WARNING = FINDINGS[-1:]


@dataclass(frozen=True)
class Content:
    """Who and what there is to look at."""

    library: Library
    contributor: User
    maintainer: User
    newcomer: User
    staff: User
    ready: Release
    rejected: Release
    waiting: Release
    running: Release
    private: Release
    quarantined: Release
    long: Release
    checkpoint: ComposedCheckpoint
    composing: ComposedCheckpoint
    export: Export
    held: Release
    report: Report


def spec(layers: int = LAYERS) -> dict[str, Any]:
    names = [f"model.layers.{layer}.{kind}" for layer in range(layers) for kind in KINDS]
    modules = [
        {"name": name, "kind": "linear", "d_in": 576, "d_out": 576, "spectral_norm": 12.5} for name in names
    ]
    return {
        "name": "demo-base",
        "architecture": "LlamaForCausalLM",
        "context": 2048,
        "vocabulary": 8192,
        "target_modules": modules,
    }


def statistics(
    seed: int, *, layers: int = LAYERS, kinds: Sequence[str] = KINDS, rank: int = 8
) -> dict[str, Any]:
    """What routing says about an expert, invented."""
    dice = random.Random(seed)
    modules = {
        f"model.layers.{layer}.{kind}": _module(
            dice, rank=rank, strength=1 + math.sin(layer / layers * 3 + number)
        )
        for layer in range(layers)
        for number, kind in enumerate(kinds)
    }
    return {
        "norm": math.sqrt(sum(module["norm"] ** 2 for module in modules.values())),
        "parameters": len(modules) * rank * 1152,
        "largest_error": 3.2e-7,
        "ambiguous_modules": sum(module["ambiguous"] for module in modules.values()),
        "untouched_modules": [],
        "summary": {
            "rank_smallest": rank // 2,
            "rank_largest": rank,
            "modules": len(modules),
            "kinds": sorted(kind.rpartition(".")[2] for kind in kinds),
        },
        "modules": modules,
    }


def _module(dice: random.Random, *, rank: int, strength: float) -> dict[str, Any]:
    sigma = [strength * dice.uniform(0.9, 1.1) * 0.72**i + 0.01 for i in range(rank)]
    sigma.sort(reverse=True)
    return {
        "rank": rank,
        "sigma": sigma,
        "norm": math.sqrt(sum(value * value for value in sigma)),
        "error": 1.3e-7,
        "ambiguous": sigma[1] / sigma[0] > 0.95,
    }


def files(seed: object, card: str | None = CARD) -> dict[str, bytes]:
    """An upload that differs from every other seed's."""
    config = json.dumps(
        {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "seed": str(seed)}
    )
    found = {"adapter_config.json": config.encode(), "adapter_model.safetensors": weights(seed)}
    return {**found, "README.md": card.encode()} if card is not None else found


def judge(
    release: Release, findings: Sequence[FindingJson] = (), measurements: Mapping[str, float] | None = None
) -> None:
    """Do what a worker does that validates."""
    claim = making.take(JobKind.VALIDATE)
    jobs.log(claim, "static checks: 14 files and fields looked at\nnumber checks: 36 target modules")
    adapters.record_report(
        claim,
        release.pk,
        findings,
        measurements or {"neutral_loss_base": 2.113, "neutral_loss_adapted": 2.158},
    )
    jobs.finish(claim)
    release.refresh_from_db()


def compute(release: Release, numbers: Mapping[str, Any]) -> None:
    """Do what a worker does that computes vectors."""
    claim = making.take(JobKind.VECTORS)
    digest = release.commit.oid + "0" * 24
    adapters.record_vectors(
        claim,
        release.pk,
        vectors_digest=digest,
        vectors_size=88_000,
        factors_digest=digest,
        factors_size=2_654_208,
        statistics=numbers,
        fingerprint=fingerprint(release.adapter.name, release.number),
    )
    jobs.finish(claim)
    release.refresh_from_db()


def ready(
    owner: User, library: Library, name: str, *, card: str = CARD, message: str = "", **shape: Any
) -> Release:
    """An expert."""
    release = making.upload(owner, library, name, files(f"{owner}/{name}/{message}", card), message=message)
    judge(release, WARNING if len(name) % 2 else ())
    compute(release, statistics(len(name), **shape))
    return release


def found_library(slug: str = "demo", *, maintainer: User | None = None, **fields: Any) -> Library:
    library = libraries.create_library(
        slug=slug, base_source="/srv/bases/demo-base", maintainer=maintainer, **fields
    )
    claim = making.take(JobKind.INSPECT_BASE)
    libraries.record_base(claim, library.pk, spec(), digest=hashlib.sha256(slug.encode()).hexdigest())
    jobs.finish(claim)
    library.refresh_from_db()
    return library


def typical() -> Content:
    """One library with some of everything."""
    ada, bob, cleo = making.user("ada"), making.user("bob"), making.user("cleo")
    staff = making.user("root-of-it-all", is_staff=True, is_superuser=True)
    library = found_library(
        maintainer=cleo,
        name="Demo tasks",
        description="Small skills for a small model: each adapter does one thing that the base cannot.",
    )
    experts = [
        ready(ada if i % 2 else bob, library, word, message=f"First release of {word}", rank=4 * (1 + i % 4))
        for i, word in enumerate(WORDS[:4])
    ]
    making.publish(library)
    for word in WORDS[4:]:
        ready(ada, library, word, message="Trained for three epochs", kinds=KINDS[:2])
    making.publish(library)
    mended = CARD.replace("three epochs", "five epochs").replace("> It does not do free verse.\n\n", "")
    said = "Second release: twice the data, and the prompts mended"
    ready(bob, library, WORDS[0], message=said, card=mended, rank=16)
    making.publish(library)
    long = ready(ada, library, LONG, message="A message that goes on and on. " * 12, card=_long_card())
    return _in_every_state(library, ada=ada, bob=bob, cleo=cleo, staff=staff, first=experts[1], long=long)


def _in_every_state(
    library: Library, *, ada: User, bob: User, cleo: User, staff: User, first: Release, long: Release
) -> Content:
    quarantined = ready(bob, library, "borrowed-weights")
    making.publish(library)
    adapters.quarantine(
        release=quarantined, by=cleo, reason="The card names a licence that forbids this use."
    )
    making.publish(library)
    people.organisation(ada, cleo, bob)
    held = people.held_back(making.upload(bob, library, "knows-everything", files("held")))
    report = people.reported(quarantined)
    rejected = making.upload(
        ada, library, "wrong-width", files("rejected", None), message="Trained on the wrong base"
    )
    judge(rejected, FINDINGS)
    private = making.upload(ada, library, "secret-sauce", files("private"), private=True)
    judge(private)
    compute(private, statistics(3))
    running = making.upload(bob, library, "in-progress", files("running"))
    claim = making.take(JobKind.VALIDATE)
    jobs.report_progress(claim, 21, 36, "Number checks: model.layers.7.mlp.down_proj")
    waiting = making.upload(ada, library, "just-arrived", files("waiting"))
    Adapter.objects.filter(pk=first.adapter_id).update(downloads=1_234, downloads_all_time=56_789)
    library.refresh_from_db()
    checkpoint, composing = _checkpoints(library, ada, cleo)
    return Content(
        library,
        ada,
        cleo,
        making.user("dora"),
        staff,
        first,
        rejected,
        waiting,
        running,
        private,
        quarantined,
        long,
        checkpoint,
        composing,
        exports_in_every_state(first, checkpoint, ada, cleo),
        held,
        report,
    )


def _checkpoints(library: Library, ada: User, cleo: User) -> tuple[ComposedCheckpoint, ComposedCheckpoint]:
    assert library.current is not None
    done = checkpoints.request_checkpoint(version=library.current, kind="routed", requested_by=ada)
    claim = making.take(JobKind.COMPOSE)
    written = {
        file.path: file.source
        for file in making.staged({"README.md": b"# Demo tasks", "routing.safetensors": b"x" * 90_000})
    }
    checkpoints.record_checkpoint(claim, done.pk, written)
    jobs.finish(claim)
    done.refresh_from_db()
    composing = checkpoints.request_checkpoint(
        version=library.current,
        kind="adapter",
        requested_by=cleo,
        options={"rank": 32, "experts": ["ada/haiku", "bob/poetry"]},
    )
    claim = making.take(JobKind.COMPOSE)
    jobs.report_progress(claim, 17, 36, "Merging model.layers.5.self_attn.v_proj")
    return done, composing


def promote_back(library: Library, by: User) -> None:
    """Somebody rolled back."""
    indexes.roll_back(library=library, by=by, reason="Answers about recipes became worse")
    library.refresh_from_db()


def hostile(owner: User, library: Library) -> Release:
    """Everything that a stranger may choose, chosen badly."""
    card = (
        f"# {HOSTILE}\n\n{HOSTILE}\n\n![x](https://evil.example/pixel.png)\n\n[click](javascript:alert(3))\n"
    )
    release = making.upload(owner, library, "hostile", files("hostile", card), message=HOSTILE)
    finding: FindingJson = {
        "check": HOSTILE,
        "severity": "error",
        "file": HOSTILE,
        "field": HOSTILE,
        "found": HOSTILE,
        "expected": HOSTILE,
        "fix": HOSTILE,
    }
    judge(release, [finding])
    return release


def _long_card() -> str:
    rows = "".join(
        f"| column number {i} | {'a-very-long-word-without-any-space' * 3} | {i} |\n" for i in range(12)
    )
    return (
        f"# {'Unbreakable' * 14}\n\n"
        + "מודל שכותב שירים. " * 20
        + f"\n\n| a | b | c |\n|---|---|---|\n{rows}\n\n```\n{'x' * 300}\n```\n"
    )
