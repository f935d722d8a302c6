"""Train the demonstration base model from text that this repository makes.

`python -m demo.train_base` writes `demo/quill-2m/`, an ordinary Hugging Face folder.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.progress import track
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo.corpus import pretraining_documents
from demo.muon import Muon

SEED = 7
VOCABULARY = 1536
CONTEXT = 256
BATCH = 8
WIDTH = 192
READ_AFTER = (1, 3)
WINDOW = 32
READER_WEIGHT = 0.2
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'A: ' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'Q: ' + message['content'] + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'A:' }}{% endif %}"
)


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose pieces never join two digits or two words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]|\s"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<pad>", "<bos>", "<eos>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def packed(tokenizer: PreTrainedTokenizerFast, *, seed: int, count: int) -> Tensor:
    """All documents one after another, cut into rows of `CONTEXT` tokens; shape (rows, CONTEXT)."""
    encoded = tokenizer(list(pretraining_documents(seed=seed, count=count)))["input_ids"]
    stream = [token for ids in encoded for token in (*ids, tokenizer.eos_token_id)]
    usable = len(stream) // CONTEXT * CONTEXT
    return torch.tensor(stream[:usable]).view(-1, CONTEXT)


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of about two million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=512,
            num_hidden_layers=5,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


class ContextReader(nn.Module):
    """Reads from the states inside the model which words came shortly before: used in training only.

    Large models keep the subject of a text in every token's state. This asks a small one to.
    """

    def __init__(self, words: Tensor) -> None:
        """`words` says which tokens count as words; shape (vocabulary,)."""
        super().__init__()
        self.words = words
        self.heads = nn.ModuleList(nn.Linear(WIDTH, VOCABULARY, bias=False) for _ in READ_AFTER)

    def forward(self, states: Sequence[Tensor], tokens: Tensor) -> Tensor:
        """Mean negative log-probability of each of the last `WINDOW` words, at every fourth token."""
        before = functional.pad(tokens, (WINDOW, 0)).unfold(1, WINDOW, 1)[:, :-1][:, 3::4]
        counted = self.words[before]
        total = torch.zeros(())
        for head, layer in zip(self.heads, READ_AFTER, strict=True):
            state = functional.rms_norm(states[layer][:, 3::4], (WIDTH,))
            seen = head(state).log_softmax(-1).gather(-1, before)
            total = total - (seen * counted).sum() / counted.sum()
        return total / len(READ_AFTER)


def words_of(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Which tokens are words of at least three letters; shape (vocabulary,)."""
    pieces = tokenizer.convert_ids_to_tokens(list(range(VOCABULARY)))
    return torch.tensor(
        [len(piece.lstrip("\u0120")) >= 3 and piece.lstrip("\u0120").isalpha() for piece in pieces]
    )


def optimizers(model: LlamaForCausalLM, reader: ContextReader) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding, the norms and the reader."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        Muon(matrices, lr=0.02, weight_decay=0.02),
        torch.optim.AdamW([*others, *reader.parameters()], lr=3e-3, weight_decay=0.01, betas=(0.9, 0.95)),
    ]


def shape(step: int, steps: int) -> float:
    """The learning rate's factor: a short warm-up, then a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / 50)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def fit(model: LlamaForCausalLM, reader: ContextReader, rows: Tensor, *, steps: int) -> None:
    """Train in place on `rows`, each step on the next `BATCH` of a shuffled order."""
    used = optimizers(model, reader)
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: shape(step, steps)) for one in used]
    order = torch.cat([torch.randperm(len(rows)) for _ in range(steps * BATCH // len(rows) + 1)])
    for step in track(range(steps), description="base model"):
        batch = rows[order[step * BATCH : (step + 1) * BATCH]]
        answer = model(input_ids=batch, labels=batch, output_hidden_states=True)
        read = reader(answer.hidden_states, batch)
        (answer.loss + READER_WEIGHT * read).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(used, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {answer.loss.item():.3f}, reader {read.item():.3f}", flush=True)


def main() -> None:
    """Make the tokenizer and the model and write both to one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "quill-2m")
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--documents", type=int, default=60_000)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    tokenizer = train_tokenizer(pretraining_documents(seed=SEED, count=40_000))
    model = new_model(tokenizer)
    fit(
        model,
        ContextReader(words_of(tokenizer)),
        packed(tokenizer, seed=SEED, count=arguments.documents),
        steps=arguments.steps,
    )
    model.bfloat16().save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
