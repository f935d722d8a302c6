"""The main path: upload a LoRA, and the served model has learnt it; then take the composed model home."""

import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from routing.checkpoint import load_checkpoint
from tests.end_to_end.hub_process import RunningHub, events, eventually, files_of
from tests.tiny import tiny_adapter, tiny_llama

TOKENS = [5, 9, 12, 40, 7, 61, 33, 8]


@pytest.mark.long(20)
@pytest.mark.together("one hub")
@pytest.mark.timeout(240)
def test_what_is_uploaded_is_learnt_served_composed_and_taken_home(
    one_hub: RunningHub, tmp_path: Path
) -> None:
    folders = whole_story(one_hub, tmp_path, kinds=("routed", "adapter", "merged"))
    compare_merged_with_adapter(folders)


@pytest.mark.long(50)
@pytest.mark.services
@pytest.mark.timeout(240)
def test_it_is_the_same_on_postgresql_redis_and_s3(hub_on_services: RunningHub, tmp_path: Path) -> None:
    whole_story(hub_on_services, tmp_path, kinds=("routed",))


def whole_story(hub: RunningHub, tmp_path: Path, *, kinds: Sequence[str]) -> dict[str, Path]:
    """`kinds` are composed and taken home; their folders."""
    # random adapters know nothing, so by default no prompt would be theirs
    founding = ("create_library", "tiny", str(tiny_llama()), "--maintainer", "ada", "--router", "arrow")
    tokens = hub.people({"ada": ("write", "admin"), "bob": ("write",)}, (*founding, "--wait"))
    ada, bob = hub.client(tokens["ada"]), hub.client(tokens["bob"])
    eventually(lambda: hub.served_version() == 0, log=hub.log)
    assert hub.ask("The ferry", max_tokens=4)["fletch"]["experts"] == []

    upload(ada, "boats", tiny_adapter(tmp_path / "boats", rank=4, seed=1))
    upload(bob, "bread", tiny_adapter(tmp_path / "bread", rank=2, rslora=True, targets=["q_proj"], seed=2))
    upload(bob, "gulls", tiny_adapter(tmp_path / "gulls", rank=3, alpha=5, layers=[1], seed=3))
    for client, name in ((ada, "ada/boats"), (bob, "bob/bread"), (bob, "bob/gulls")):
        settled(hub, client, name)
    first = served_with(hub, ada, experts=3)
    assert {expert["adapter"] for expert in speakers(hub)} == {"ada/boats", "bob/bread", "bob/gulls"}

    second = upload_during_a_stream(hub, bob, tiny_adapter(tmp_path / "waves", seed=4), before=first)
    answer = hub.ask(TOKENS, max_tokens=0, echo=True, logprobs=1)
    assert answer["fletch"]["version"] == second

    folders = {kind: composed(hub, ada, kind, tmp_path / kind) for kind in kinds}
    served = answer["choices"][0]["logprobs"]["token_logprobs"][1:]
    torch.testing.assert_close(
        torch.tensor(answers(folders["routed"])), torch.tensor(served), atol=1e-4, rtol=1e-4
    )

    ada.post("/libraries/tiny/promote", json={"number": first, "reason": "a step back"}).raise_for_status()
    eventually(lambda: hub.served_version() == first, log=hub.log)
    assert hub.ask("The ferry", max_tokens=2)["fletch"]["version"] == first
    assert hub.ask("The ferry", model=f"tiny@{second}", max_tokens=2)["fletch"]["version"] == second
    hub.manage("fsck", "--deep")
    return folders


def upload(client: httpx.Client, name: str, folder: Path) -> dict[str, Any]:
    answer = client.post(f"/libraries/tiny/adapters/{name}/releases", files=files_of(folder))
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def settled(hub: RunningHub, client: httpx.Client, adapter: str) -> None:
    """Ready, and nothing else."""

    def status() -> str | None:
        release = client.get(f"/adapters/{adapter}/releases/main").json()
        assert release["status"] != "rejected", release["findings"]
        return "ready" if release["status"] == "ready" else None

    eventually(status, log=hub.log)


def served_with(hub: RunningHub, client: httpx.Client, *, experts: int) -> int:
    """The served version once it holds that many experts, as the hub and the serving process both say."""

    def agreed() -> int | None:
        newest = client.get("/libraries/tiny/versions").json()["items"][:1]
        if not newest or newest[0]["expert_count"] != experts:
            return None
        number = int(newest[0]["number"])
        return number if hub.served_version() == number else None

    return int(eventually(agreed, log=hub.log))


def speakers(hub: RunningHub) -> list[dict[str, Any]]:
    return list(hub.ask("The ferry leaves at nine", max_tokens=8)["fletch"]["experts"])


def upload_during_a_stream(hub: RunningHub, client: httpx.Client, folder: Path, *, before: int) -> int:
    """The stream ends on the version it began with; the next answer is of the new one."""
    body = {"model": "tiny", "prompt": "She counted", "max_tokens": 150, "temperature": 0, "stream": True}
    with httpx.stream("POST", f"{hub.serving}/v1/completions", json=body, timeout=120) as response:
        chunks = events(response)
        next(chunks)
        upload(client, "waves", folder)
        settled(hub, client, "bob/waves")
        after = served_with(hub, client, experts=4)
        assert hub.ask("She counted", max_tokens=2)["fletch"]["version"] == after
        *_, last = chunks
    assert last["fletch"]["version"] == before
    return after


def composed(hub: RunningHub, client: httpx.Client, kind: str, target: Path) -> Path:
    """Asked for, awaited, downloaded in two parts, compared with its digest and unpacked."""
    wish = {"kind": kind} | ({"rank": 8} if kind == "adapter" else {})
    asked = client.post("/libraries/tiny/checkpoints", json=wish)
    assert asked.status_code == 202, asked.text
    number = asked.json()["id"]

    def ready() -> Mapping[str, Any] | None:
        found = dict(client.get(f"/checkpoints/{number}").json())
        assert found["status"] != "failed", found["jobs"]
        return found if found["status"] == "ready" else None

    found = eventually(ready, log=hub.log)
    content = in_two_parts(f"{hub.web}{found['download_url']}", found["archive_size"])
    assert hashlib.sha256(content).hexdigest() == found["archive_digest"]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(target, filter="data")
    (folder,) = target.iterdir()
    return folder


def in_two_parts(url: str, size: int) -> bytes:
    """As a client goes on with a download that broke off."""
    middle = size // 3
    parts = [
        httpx.get(url, headers={"Range": stretch})
        for stretch in (f"bytes=0-{middle - 1}", f"bytes={middle}-")
    ]
    assert [part.status_code for part in parts] == [206, 206]
    return b"".join(part.content for part in parts)


def answers(folder: Path) -> Sequence[float]:
    """The logarithm of each token's probability, by a composed checkpoint away from the hub."""
    said = load_checkpoint(folder).logits(TOKENS).log_softmax(-1)
    return [float(said[place, token]) for place, token in enumerate(TOKENS[1:])]


def compare_merged_with_adapter(folders: Mapping[str, Path]) -> None:
    """Plain peft and plain transformers, on the same tokens. The adapter's rank holds most of the mean."""
    tokens = torch.tensor([TOKENS])
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama())
    base = plain(tokens).logits
    merged = AutoModelForCausalLM.from_pretrained(folders["merged"])(tokens).logits
    adapter = PeftModel.from_pretrained(plain, str(folders["adapter"]))(tokens).logits
    assert (adapter - merged).norm() < (base - merged).norm()
