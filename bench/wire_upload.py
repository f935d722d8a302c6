"""Uploading a large adapter with the unmodified client: seconds against copying the file, and peak memory of both sides.

python -m bench.wire_upload [--megabytes 200] [--side-by-side 32]

A hub on this machine (SQLite, one gunicorn worker of 16 threads), random bfloat16 weights, `hf upload` in a process of its own:
once by Xet, as the client does by itself, once by Git LFS. Then many uploads at once, from threads of one client.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULT = Path("bench/results/wire_upload.json")
PORT = 8765
MEGABYTE = 10**6
CLIENT = Path(sys.executable).parent / "hf"
WAYS: dict[str, dict[str, str]] = {"xet": {}, "lfs": {"HF_HUB_DISABLE_XET": "1"}}
MANY = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from huggingface_hub import CommitOperationAdd, HfApi
folder, count = sys.argv[1], int(sys.argv[2])

def upload(number):
    api, repo = HfApi(), f"ada/many-{number}"
    api.create_repo(repo)
    files = {name: f"{folder}/{number}/{name}" for name in ("adapter_config.json", "adapter_model.safetensors")}
    operations = [CommitOperationAdd(name, path) for name, path in files.items()]
    return api.create_commit(repo, operations, commit_message="one of many").oid

with ThreadPoolExecutor(count) as pool:
    print(json.dumps(list(pool.map(upload, range(count)))))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--side-by-side", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as data:
        os.environ.update(
            FLETCH_DATA=data,
            FLETCH_FREE_BYTES="0",
            DJANGO_SETTINGS_MODULE="hub.settings",
            OMP_NUM_THREADS="1",
        )
        figures = measure(Path(data), options.megabytes, options.side_by_side)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


def measure(data: Path, megabytes: int, side_by_side: int) -> dict[str, Any]:
    token = prepare()
    adapters = {way: write_adapter(data / way, megabytes * MEGABYTE, seed=-n) for n, way in enumerate(WAYS)}
    figures: dict[str, Any] = {
        "measured": time.strftime("%Y-%m-%d"),
        "megabytes": megabytes,
        "copy_seconds": copy_seconds(adapters["xet"]),
    }
    for way, more in WAYS.items():  # weights of their own: what is stored is not sent again
        with hub() as server:
            figures[way] = upload(data, adapters[way], way, server, {"HF_TOKEN": token, **more})
    with hub() as server:
        figures["many"] = upload_many(data, side_by_side, server, {"HF_TOKEN": token})
    return figures


def prepare() -> str:
    """A user, a library whose base counts as inspected, and a token."""
    import django  # noqa: PLC0415  (models can be imported only after setup)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from hub.accounts import services as accounts  # noqa: PLC0415
    from hub.accounts.models import User  # noqa: PLC0415
    from hub.library.models import Library  # noqa: PLC0415

    call_command("migrate", interactive=False, verbosity=0)
    ada = User.objects.create_user(username="ada", email="ada@example.org")
    Library.objects.create(
        slug="bench",
        name="Bench",
        base_source="/bases/bench",
        status="ready",
        base_spec={},
        base_digest="b" * 64,
    )
    return accounts.issue_token(user=ada, name="bench", scopes=["write"])[1]


def write_adapter(folder: Path, size: int, *, seed: int) -> Path:
    """A folder with random weights: bytes of bfloat16 numbers around nought, which pack as such weights do."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 16, "seed": seed}))
    chance = random.Random(seed)
    exponents = bytes(chance.choices(range(0x38, 0x3D), k=4096))
    header = json.dumps({"w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(size // 8192):
            block = bytearray(8192)
            block[0::2], block[1::2] = chance.randbytes(4096), exponents
            file.write(block)
        file.write(bytes(size % 8192))
    return folder


def copy_seconds(adapter: Path) -> float:
    begin = time.perf_counter()
    target = adapter.with_name("copy")
    shutil.copytree(adapter, target)
    subprocess.run(["sync", str(target / "adapter_model.safetensors")], check=True)
    return round(time.perf_counter() - begin, 2)


@contextmanager
def hub() -> Iterator[int]:
    """A fresh web process; the id of the worker inside."""
    command = [sys.executable, "-m", "gunicorn", "hub.wsgi:application", "--worker-class=gthread"]
    options = ["--threads=16", "--log-level=warning", "--no-control-socket", f"--bind=127.0.0.1:{PORT}"]
    with subprocess.Popen([*command, *options]) as server:
        try:
            await_answer(server)
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            yield int(children[0])
        finally:
            server.terminate()


def await_answer(server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
        if server.poll() is not None:
            break
    raise SystemExit("the web process did not start")


def upload(data: Path, adapter: Path, way: str, server: int, given: dict[str, str]) -> dict[str, Any]:
    before = memory(server, "VmRSS")
    command = [str(CLIENT), "upload", f"ada/{way}", str(adapter), "."]
    seconds, peak, _ = run_client(data / f"home-{way}", command, given)
    assert kept(f"{way}") == digest(adapter), "what arrived is not what was sent"
    return {
        "seconds": seconds,
        "client_peak_megabytes": peak,
        "server_before_megabytes": before,
        "server_peak_megabytes": memory(server, "VmHWM"),
    }


def upload_many(data: Path, count: int, server: int, given: dict[str, str]) -> dict[str, Any]:
    folders = [
        write_adapter(data / "many" / str(number), 2 * MEGABYTE, seed=number + 1) for number in range(count)
    ]
    command = [sys.executable, "-c", MANY, str(data / "many"), str(count)]
    seconds, _, out = run_client(data / "home-many", command, given)
    commits = json.loads(out.splitlines()[-1])
    lost = [number for number, folder in enumerate(folders) if kept(f"many-{number}") != digest(folder)]
    return {
        "uploads": count,
        "seconds": seconds,
        "commits": len(set(commits)),
        "lost": lost,
        "server_peak_megabytes": memory(server, "VmHWM"),
    }


def run_client(home: Path, command: list[str], given: dict[str, str]) -> tuple[float, float, str]:
    """Seconds, peak megabytes and output of a client that knows nothing of this machine."""
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), **given}
    environment["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    environment["HF_ENDPOINT"] = f"http://127.0.0.1:{PORT}"
    begin = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as client:
        out = client.stdout.read() if client.stdout else ""
        _, status, usage = os.wait4(client.pid, 0)
        client.returncode = os.waitstatus_to_exitcode(status)
    if client.returncode != 0:
        raise SystemExit(f"the client failed: {out}")
    return round(time.perf_counter() - begin, 2), round(usage.ru_maxrss / 1024, 1), out


def memory(process: int, what: str) -> float:
    line = next(
        line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith(what)
    )
    return round(int(line.split()[1]) / 1024, 1)


def digest(adapter: Path) -> str:
    with (adapter / "adapter_model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept(name: str) -> str:
    """The digest of the bytes that the hub keeps for an adapter's weights."""
    from django.db import connection  # noqa: PLC0415

    from hub.adapters.models import Release  # noqa: PLC0415
    from hub.blobs import services as blobs  # noqa: PLC0415

    connection.close()
    release = Release.objects.get(adapter__name=name)
    found = release.commit.files.get(path="adapter_model.safetensors").blob
    sha256 = hashlib.sha256()
    for chunk in blobs.read(found):
        sha256.update(chunk)
    return sha256.hexdigest()


if __name__ == "__main__":
    main()
