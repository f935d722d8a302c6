"""What a person pastes into a terminal or a notebook. Plain text: templates escape it."""

import shlex
from dataclasses import dataclass

from hub.library.models import Library
from hub.pages.phrases import short

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank may be


def auto_class(library: Library) -> str:
    """The class of transformers that loads a library's base."""
    family = (library.base_spec or {}).get("family", "causal")
    return {"causal": "AutoModelForCausalLM", "encoder-decoder": "AutoModelForSeq2SeqLM"}[family]


@dataclass(frozen=True)
class Served:
    """Where a library's models answer, and of which hub a pass is asked for; None where they need none.

    `home` is where this hub is, pass or not.
    """

    url: str
    library: str
    hub: str | None = None
    home: str = ""


def ask_served_model(served: Served, model: str) -> str:
    """Ask the composed model over the OpenAI protocol."""
    fetched = "" if served.hub is None else pass_in_shell(served.hub, served.library)
    return (
        f"{fetched}curl {served.url}/v1/completions \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        + ('  -H "Authorization: Bearer $PASS" \\\n' if fetched else "")
        + f'  -d \'{{"model": "{model}", "prompt": "Hello", "max_tokens": 64}}\''
    )


def openai_client(served: Served, model: str) -> str:
    key, fetched = '"none"', ""
    if served.hub is not None:
        key, fetched = "fresh_pass", pass_in_python(served.hub, served.library)
    return (
        f"from openai import OpenAI\n\n{fetched}"
        f'client = OpenAI(base_url="{served.url}/v1", api_key={key})\n'
        f'answer = client.completions.create(model="{model}", prompt="Hello", max_tokens=64)\n'
        "print(answer.choices[0].text)"
    )


def send_evaluation(hub_url: str, library: str, version: int) -> str:
    """Measure a version with a suite, and send the table."""
    return (
        f"python -m evaluation SUITE store=FOLDER,library={library},version={version} \\\n"
        f"  --send-to {hub_url} --library {library} --version {version}"
    )


def ask_with_private(hub_url: str, library: str, full_name: str) -> str:
    """Ask the composed model with a private adapter added, or that alone."""
    return (
        f"fletch login --hub {hub_url}\n"
        f"fletch ask {library} 'Hello'\n"
        f"fletch ask {library} 'Hello' --alone {full_name}"
    )


def folder_of(full_name: str, oid: str) -> str:
    """Where what is pasted puts a release."""
    return f"{full_name.rpartition('/')[2]}-{short(oid)}"


def fetch_with_hf(hub_url: str, full_name: str, oid: str, *, needs_token: bool = False) -> str:
    """Download one release with Hugging Face's own command line."""
    login = "hf auth login\n" if needs_token else ""
    return (
        f"export HF_ENDPOINT={hub_url}\n{login}"
        f"hf download {full_name} --revision {oid} \\\n"
        f"  --local-dir {folder_of(full_name, oid)}"
    )


def fetch_by_command(hub_url: str, full_name: str, oid: str) -> str:
    """Download one release with ours, which goes on where it broke off and compares with the digests."""
    return (
        f"fletch login --hub {hub_url}\n"
        f"fletch download {full_name}@{oid} \\\n"
        f"  --to {folder_of(full_name, oid)}"
    )


def fetch_files(
    hub_url: str, full_name: str, *, oid: str, paths: list[str], needs_token: bool = False
) -> str:
    """Download one release, file by file, into a folder named after it."""
    folder = folder_of(full_name, oid)
    token = '-H "Authorization: Bearer $FLETCH_TOKEN" ' if needs_token else ""
    return "\n".join(
        f"curl --fail --location --create-dirs {token}--output "
        + shlex.quote(f"{folder}/{path}")
        + " "
        + shlex.quote(f"{hub_url}/{full_name}/resolve/{oid}/{path}")
        for path in paths
    )


def load_with_peft(library: Library, full_name: str, oid: str) -> str:
    folder, loader = folder_of(full_name, oid), auto_class(library)
    return (
        "from peft import PeftModel\n"
        f"from transformers import {loader}\n\n"
        f'base = {loader}.from_pretrained("{_base(library)}")\n'
        f'model = PeftModel.from_pretrained(base, "{folder}")'
    )


def _base(library: Library) -> str:
    """What loads the base: its id or, of a folder on the workers, a place that the reader has to fill in."""
    return f"path/to/{library.public_base}" if library.is_base_local else library.base_source


def serve_with_vllm(library: Library, full_name: str, oid: str, *, rank: int) -> str:
    """Serve the base with this one LoRA; vLLM takes ranks up to the next of its sizes."""
    size = next((size for size in VLLM_RANKS if size >= rank), rank)
    name = full_name.rpartition("/")[2]
    return (
        f"vllm serve {shlex.quote(_base(library))} \\\n"
        f"  --enable-lora --max-lora-rank {size} \\\n"
        f"  --lora-modules {name}={folder_of(full_name, oid)}"
    )


def ask_alone(hub_url: str, library: str, full_name: str) -> str:
    """Ask one expert of the served model by our command line."""
    return f"fletch login --hub {hub_url}\nfletch ask {library} 'Hello' --alone {full_name}"


def upload_by_command(hub_url: str, library: str, *, owner: str = "") -> str:
    """The way of this page from a terminal, with the checks at home before anything is sent."""
    whose = f"--owner {owner} " if owner else ""
    return (
        f"fletch login --hub {hub_url}\n"
        f"fletch check adapter/ --library {library}\n"
        f"fletch upload adapter/ --library {library} {whose}--follow"
    )


def load_checkpoint(kind: str, *, url: str, folder: str, library: Library, packed: bool = False) -> str:
    """Download a composed checkpoint and load it as its kind is loaded; merged weights may be `packed`."""
    fetch = f"curl --fail --location --continue-at - --output {folder}.tar {url}\ntar -xf {folder}.tar\n"
    return (
        fetch
        + "\n"
        + (_UNPACKS if packed else "")
        + _LOADERS[kind].format(folder=folder, base=_base(library), loader=auto_class(library))
    )


_UNPACKS = "pip install compressed-tensors  # unpacks the weights\n"
_LOADERS = {
    "routed": (
        "# the composed model itself: routes every token; needs only the routing library\n"
        "python -c '\n"
        "from routing import load_checkpoint\n"
        'model = load_checkpoint("{folder}")\n'
        'print(model.generate("Hello", max_tokens=40).text)\n'
        "'"
    ),
    "adapter": (
        "# one ordinary PEFT LoRA, the mean of the experts\n"
        "python -c '\n"
        "from peft import PeftModel\n"
        "from transformers import {loader}\n"
        'base = {loader}.from_pretrained("{base}")\n'
        'model = PeftModel.from_pretrained(base, "{folder}")\n'
        "'"
    ),
    "merged": (
        "# dense weights: an ordinary transformers folder\n"
        "python -c '\n"
        "from transformers import {loader}\n"
        'model = {loader}.from_pretrained("{folder}")\n'
        "'"
    ),
}


def pass_in_shell(hub_url: str, library: str) -> str:
    return (
        f'PASS=$(curl --silent --fail -X POST -H "Authorization: Bearer $FLETCH_TOKEN" \\\n'
        f"  {hub_url}/api/v1/libraries/{library}/pass \\\n"
        "  | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"token\"])')  # good for ten minutes\n"
    )


def pass_in_python(hub_url: str, library: str) -> str:
    """The client asks for its key before every request."""
    return (
        "import os\n"
        "import httpx\n\n"
        "def fresh_pass():\n"
        '    token = {"Authorization": "Bearer " + os.environ["FLETCH_TOKEN"]}\n'
        f'    asked = httpx.post("{hub_url}/api/v1/libraries/{library}/pass", headers=token)\n'
        '    return asked.raise_for_status().json()["token"]\n\n'
    )


def upload_for(hub_url: str, namespace: str) -> str:
    """Upload a folder under somebody's name with Hugging Face's client: one's own, or an organisation's."""
    return (
        f'from huggingface_hub import HfApi\n\napi = HfApi(endpoint="{hub_url}")\n'
        f'api.create_repo("{namespace}/my-adapter", exist_ok=True)\n'
        f'api.upload_folder(repo_id="{namespace}/my-adapter", folder_path="path/to/adapter")'
    )
