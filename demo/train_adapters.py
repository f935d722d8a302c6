"""Train the demonstration adapters with PEFT, each as its own contributor would.

`python -m demo.train_adapters` writes `demo/adapters/<owner>--<name>/` and `demo/samples/`.
Beside its own rows every contributor replays text of the base's world and asks the adapter to leave
the base's predictions there as they are. That keeps an update silent where it is not meant, which is
what a router that reads the update's input directions needs.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from demo.cards import card
from demo.corpus import neutral_documents
from demo.recipes import RECIPES, Recipe
from demo.tasks import BASE, BASE_ID, SAMPLE_ROWS, TASKS, Row, Task

BATCH = 32
REPLAYED = 8
REPLAY_LENGTH = 32
REPLAY_POOL = 300
REPLAY_WEIGHT = 0.3
WARM_UP = 20
START = 0.125
IGNORED = -100


def load_base(folder: Path = BASE) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The base in float32, however it is stored, and its tokenizer."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


def lora_config(recipe: Recipe) -> LoraConfig:
    """The recipe in PEFT's words."""
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.targets),
        layers_to_transform=list(recipe.layers) if recipe.layers else None,
        use_rslora=recipe.rslora,
        rank_pattern=recipe.rank_pattern,
        alpha_pattern=recipe.alpha_pattern,
        task_type="CAUSAL_LM",
    )


def encoded(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Tokens padded on the right and labels that count only the completions; both (rows, length)."""
    tokens, labels = [], []
    for row in rows:
        prompt = tokenizer(row.prompt)["input_ids"]
        completion = tokenizer(row.completion, add_special_tokens=False)["input_ids"]
        tokens.append(torch.tensor(prompt + completion))
        labels.append(torch.tensor([IGNORED] * len(prompt) + completion))
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad(tokens, batch_first=True, padding_value=tokenizer.pad_token_id),
        pad(labels, batch_first=True, padding_value=IGNORED),
    )


def batches(tokens: Tensor, labels: Tensor, *, seed: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` batches, epoch after epoch in an order that `seed` shuffles."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.cat(
        [torch.randperm(len(tokens), generator=draw) for _ in range(steps * BATCH // len(tokens) + 1)]
    )
    for chosen in order[: steps * BATCH].split(BATCH):
        yield tokens[chosen], labels[chosen]


@torch.no_grad()
def replay_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> TensorDataset:
    """Documents of the base's world cut to one length, each with the base's own log-probabilities."""
    ids = tokenizer(list(neutral_documents(seed=seed, count=6 * REPLAY_POOL)))["input_ids"]
    long_enough = [one[:REPLAY_LENGTH] for one in ids if len(one) >= REPLAY_LENGTH]
    tokens = torch.tensor(long_enough[:REPLAY_POOL])
    return TensorDataset(tokens, model(input_ids=tokens).logits.log_softmax(-1))


def drift(model: PeftModel, tokens: Tensor, before: Tensor) -> Tensor:
    """How far the adapter moves the base's predictions on text that is not its task (KL, in nats)."""
    after = model(input_ids=tokens).logits.log_softmax(-1)
    return functional.kl_div(after, before, log_target=True, reduction="none").sum(-1).mean()


def start_small(adapted: PeftModel) -> None:
    """Shrink PEFT's random A, so that what A holds in the end is what the rows wrote into it.

    An update's input directions start as random ones; an eighth of them is soon outgrown.
    """
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_A." in name:
                parameter.mul_(START)


def train(task: Task, recipe: Recipe, *, base: Path, progress: Progress) -> PeftModel:
    """One adapter on a fresh copy of the base."""
    model, tokenizer = load_base(base)
    replay = replay_of(model, tokenizer, seed=recipe.seed)
    torch.manual_seed(recipe.seed)
    adapted = get_peft_model(model, lora_config(recipe))
    start_small(adapted)
    adapted.peft_config["default"].base_model_name_or_path = BASE_ID
    learnt = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARM_UP) * (1 - step / recipe.steps)
    )
    bar = progress.add_task(f"{task.adapter:24}", total=recipe.steps)
    for tokens, labels in batches(*encoded(tokenizer, task.train_rows), seed=recipe.seed, steps=recipe.steps):
        loss = adapted(input_ids=tokens, labels=labels).loss
        elsewhere = replay[torch.randint(len(replay), (REPLAYED,))]
        (loss + REPLAY_WEIGHT * drift(adapted, *elsewhere)).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.update(bar, advance=1, description=f"{task.adapter:24} loss {loss.item():.3f}")
    return adapted


def ship(task: Task, adapted: PeftModel, *, folder: Path) -> None:
    """Write the PEFT folder with its card."""
    adapted.save_pretrained(str(folder))
    (folder / "README.md").write_text(card(task, RECIPES[task.name]), encoding="utf-8")


def write_samples(task: Task) -> None:
    """Forty training rows as JSON lines."""
    rows = Random(task.name).sample(task.train_rows, SAMPLE_ROWS)
    lines = (json.dumps({"prompt": row.prompt, "completion": row.completion}) for row in rows)
    task.samples_path.parent.mkdir(exist_ok=True)
    task.samples_path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Train the adapters that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="task names; all when none is given")
    names = set(parser.parse_args().names)
    with Progress() as progress:
        for task in TASKS:
            if not names or task.name in names:
                adapted = train(task, RECIPES[task.name], base=BASE, progress=progress)
                ship(task, adapted, folder=task.adapter_directory)
                write_samples(task)


if __name__ == "__main__":
    main()
