"""One request to a serving process, exactly as the playground asked it, to be pasted elsewhere."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from hub.pages.snippets import Served, pass_in_python, pass_in_shell


def commands(served: Served, path: str, body: Mapping[str, Any], *, private: bool) -> list[dict[str, str]]:
    """One request, exactly, for a terminal, OpenAI's client and plain Python."""
    return [
        {"title": "curl", "text": _asked_with_curl(served, path, body, private=private)},
        {
            "title": "Python, with OpenAI's client",
            "text": _asked_with_openai(served, path, body, private=private),
        },
        {"title": "Python, and who spoke", "text": _asked_plainly(served, path, body, private=private)},
    ]


def _asked_with_curl(served: Served, path: str, body: Mapping[str, Any], *, private: bool) -> str:
    written = json.dumps(body, ensure_ascii=False, indent=2)
    fetched = pass_in_shell(served.hub, served.library) if served.hub else ""
    listed = _guests_in_shell(served) if private else ""
    return (
        f"{fetched}{listed}curl {shlex.quote(served.url + path)} \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        + ('  -H "Authorization: Bearer $PASS" \\\n' if fetched else "")
        + ('  -H "X-Fletch-Private: $PRIVATE" \\\n' if listed else "")
        + f"  -d {shlex.quote(written)}"
    )


def _asked_with_openai(served: Served, path: str, body: Mapping[str, Any], *, private: bool) -> str:
    chat = path.endswith("/chat/completions")
    key, fetched = (
        ("fresh_pass", pass_in_python(served.hub, served.library)) if served.hub else ('"none"', "")
    )
    own = {name: value for name, value in body.items() if name != "routing"}
    said = [f"    {name}={_python(value)}," for name, value in own.items()]
    if "routing" in body:
        said.append(f"    extra_body={_python({'routing': body['routing']})},")
    if private:
        said.append('    extra_headers={"X-Fletch-Private": private},')
    listed = _guests_in_python(served, imported=bool(fetched)) if private else ""
    call = "chat.completions" if chat else "completions"
    text = "message.content" if chat else "text"
    return (
        f"from openai import OpenAI\n\n{fetched}{listed}"
        f'client = OpenAI(base_url="{served.url}/v1", api_key={key})\n'
        f"answer = client.{call}.create(\n" + "\n".join(said) + f"\n)\nprint(answer.choices[0].{text})"
    )


def _asked_plainly(served: Served, path: str, body: Mapping[str, Any], *, private: bool) -> str:
    routed = body["model"] != f"{served.library}/base"
    fetched = pass_in_python(served.hub, served.library) if served.hub else "import httpx\n\n"
    listed = _guests_in_python(served, imported=True) if private else ""
    headers = {
        **({"X-Fletch-Pass": "fresh_pass()"} if served.hub else {}),
        **({"X-Fletch-Private": "private"} if private else {}),
    }
    given = ", ".join(f'"{name}": {value}' for name, value in headers.items())
    sent = {**body, "routing": {**body.get("routing", {}), "trace": "tokens"}} if routed else body
    text = '["message"]["content"]' if path.endswith("/chat/completions") else '["text"]'
    return (
        f"{fetched}{listed}asked = {_python(sent, indent=0)}\n"
        f'answer = httpx.post("{served.url}{path}", json=asked'
        + (f", headers={{{given}}}" if given else "")
        + ", timeout=120)\n"
        f'said = answer.raise_for_status().json()\nprint(said["choices"][0]{text})\n'
        'for expert in said["fletch"]["experts"]:\n'
        "    print(f\"{expert['share']:6.1%}  {expert['adapter']}\")"
    )


def _python(value: object, *, indent: int = 4) -> str:
    """A value as people write it in Python, whose further lines are indented by so much."""
    ahead, closing = " " * (indent + 4), " " * indent
    if isinstance(value, Mapping):
        rows = [
            f"{ahead}{_python(name)}: {_python(one, indent=indent + 4)},\n" for name, one in value.items()
        ]
        return "{\n" + "".join(rows) + closing + "}"
    if isinstance(value, list):
        rows = [f"{ahead}{_python(one, indent=indent + 4)},\n" for one in value]
        return "[\n" + "".join(rows) + closing + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _guests_in_shell(served: Served) -> str:
    return (
        f'PRIVATE=$(curl --silent --fail -X POST -H "Authorization: Bearer $FLETCH_TOKEN" \\\n'
        "  -H 'Content-Type: application/json' -d '{}' \\\n"
        f"  {served.home}/api/v1/libraries/{served.library}/private \\\n"
        "  | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"token\"])')  # good for ten minutes\n"
    )


def _guests_in_python(served: Served, *, imported: bool) -> str:
    needed = "" if imported else "import httpx\n\n"
    return (
        f"{needed}import os\n\n"
        "private = httpx.post(\n"
        f'    "{served.home}/api/v1/libraries/{served.library}/private",\n'
        '    headers={"Authorization": "Bearer " + os.environ["FLETCH_TOKEN"]}, json={},\n'
        ').raise_for_status().json()["token"]\n\n'
    )
