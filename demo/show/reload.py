"""Load a composed checkpoint where there is only `routing`, and say what it thinks of each prompt.

Run as a file in a process of its own: `python -I reload.py FOLDER_WITH_ROUTING CHECKPOINT` reads prompts as a JSON list from standard input and
prints, as JSON, the log-probability of each prompt's tokens but the first, and which of the hub's modules could be found.
"""

import importlib.util
import json
import sys


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from routing import load_checkpoint  # noqa: PLC0415  (isolated: `routing` is found only from here on)

    composed = load_checkpoint(sys.argv[2])
    found = []
    for prompt in json.load(sys.stdin):
        tokens = composed.tokens(prompt)
        logprobs = composed.logits(tokens).log_softmax(-1)
        found.append([float(logprobs[at, token]) for at, token in enumerate(tokens[1:])])
    hub_modules = [name for name in ("hub", "workers", "django") if name in sys.modules]
    hub_modules += [name for name in ("hub", "workers") if importlib.util.find_spec(name) is not None]
    json.dump({"logprobs": found, "hub_modules": hub_modules}, sys.stdout)


if __name__ == "__main__":
    main()
