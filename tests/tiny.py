"""Real small things to test with: base models and PEFT adapters, made on the spot as ordinary Hugging Face folders."""

from __future__ import annotations

import atexit
import copy
import functools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

VOCABULARY = 320
CONTEXT = 256
LLAMA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GPT2_TARGETS = ("c_attn", "attn.c_proj", "c_fc", "mlp.c_proj")
T5_TARGETS = ("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo")
TARGETS = {
    LlamaForCausalLM: LLAMA_TARGETS,
    GPT2LMHeadModel: GPT2_TARGETS,
    T5ForConditionalGeneration: T5_TARGETS,
}
TEXT = (
    "The ferry leaves at nine and crosses the bay in an hour. Bread, cheese and two apples were on the table. "
    "She counted 12 boats, 345 gulls and 6789 waves; nobody asked why. When it rains, the path by the mill is closed."
)


@functools.cache
def _workshop() -> Path:
    """One folder for everything cached in this process, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def tiny_llama(*, seed: int = 0, layers: int = 2) -> Path:
    """A Llama with grouped-query attention (hidden 32, 4 heads, 2 key-value heads) and its own tokenizer."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_range=0.2,  # large enough that attention and logits are far from uniform
    )
    return _save(LlamaForCausalLM, config, _workshop() / f"llama-{seed}-{layers}", seed)


@functools.cache
def tiny_gpt2(*, seed: int = 0, layers: int = 2) -> Path:
    """A GPT-2 (hidden 48, 4 heads): its linear layers are Conv1D, which store their weight transposed."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=48,
        n_layer=layers,
        n_head=4,
        n_positions=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,
    )
    return _save(GPT2LMHeadModel, config, _workshop() / f"gpt2-{seed}-{layers}", seed)


@functools.cache
def tiny_t5(*, seed: int = 0, gated: bool = True) -> Path:
    """A T5 of two layers a side (hidden 32): gated GELU as in v1.1, or ReLU and a scaled head."""
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "dropout_rate": 0.0,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": not gated,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    config = T5Config(**shape)
    return _save(T5ForConditionalGeneration, config, _workshop() / f"t5-{seed}-{gated}", seed)


@functools.cache
def tiny_encoder(*, seed: int = 0) -> Path:
    """A sentence encoder: a BERT of two layers (hidden 24) that reads 32 tokens."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    return _save(BertModel, config, _workshop() / f"encoder-{seed}", seed)


@functools.cache
def meaning_encoder(*groups: tuple[str, ...], seed: int = 0) -> Path:
    """A sentence encoder to which the words of a group mean the same: a BERT of one layer (hidden 64) whose tokens are
    these words, each embedded as its group is.
    """
    words = [word for group in groups for word in group]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    config = BertConfig(
        vocab_size=len(names),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    folder = _workshop() / f"meaning-{seed}-{abs(hash(groups))}"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(config)
        meant = torch.repeat_interleave(
            torch.randn(len(groups), 64), torch.tensor([len(one) for one in groups]), 0
        )
        with torch.no_grad():
            model.embeddings.word_embeddings.weight[4:] = meant + torch.randn(len(words), 64) / 20
    model.save_pretrained(folder)
    tokenizer = Tokenizer(
        models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return folder


def tiny_adapter(
    directory: Path,
    base: Path | None = None,
    *,
    rank: int = 4,
    alpha: float = 8,
    targets: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    rslora: bool = False,
    dora: bool = False,
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, float] | None = None,
    seed: int = 0,
    scale: float = 0.2,
) -> Path:
    """Save a real PEFT LoRA for `base` (default: `tiny_llama()`) with random A and B, so that it changes every answer.

    `scale` is the standard deviation of the entries. All targets and all layers are adapted unless named. With
    `dora` the learnt lengths differ from the rows' own by some per cent.
    """
    base = base or tiny_llama()
    model = tiny_model(base)
    known = TARGETS[type(model)]
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules=list(targets or known),
        layers_to_transform=None if layers is None else list(layers),
        use_rslora=rslora,
        use_dora=dora,
        rank_pattern=dict(rank_pattern or {}),
        alpha_pattern=dict(alpha_pattern or {}),
        fan_in_fan_out=isinstance(model, GPT2LMHeadModel),
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    return _adapted(model, config, directory, seed=seed, scale=scale)


def tiny_ia3(
    directory: Path,
    base: Path | None = None,
    *,
    targets: Sequence[str] = (),
    feedforward: Sequence[str] = (),
    seed: int = 0,
    scale: float = 0.3,
) -> Path:
    """Save a real PEFT (IA)^3 with factors around one, by default on keys, values and the feed-forward input."""
    model = AutoModelForCausalLM.from_pretrained(base or tiny_llama())
    conv1d = isinstance(model, GPT2LMHeadModel)
    config = IA3Config(
        target_modules=list(
            targets or (("c_attn", "mlp.c_proj") if conv1d else ("k_proj", "v_proj", "down_proj"))
        ),
        feedforward_modules=list(
            feedforward or ([] if targets else ["mlp.c_proj" if conv1d else "down_proj"])
        ),
        fan_in_fan_out=conv1d,
        task_type="CAUSAL_LM",
    )
    return _adapted(model, config, directory, seed=seed, scale=scale)


def _adapted(model: torch.nn.Module, config: PeftConfig, directory: Path, *, seed: int, scale: float) -> Path:
    """Fill what PEFT would train with random numbers, and save it."""
    adapted = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            noise = (
                torch.randn(parameter.shape, generator=generator) * scale if parameter.requires_grad else None
            )
            if noise is not None and ".lora_magnitude_vector." in name:
                parameter.mul_(noise.exp())
            elif noise is not None:
                parameter.copy_(noise + float(".ia3_l." in name))
    adapted.save_pretrained(str(directory))
    return directory


def tiny_model(base: Path) -> Any:
    """A base as plain transformers loads it. Those of this module never change, so each is loaded once."""
    return copy.deepcopy(_kept(base)) if base.parent == _workshop() else _loaded(base)


@functools.cache
def _kept(base: Path) -> Any:
    return _loaded(base)


def _loaded(base: Path) -> Any:
    config = AutoConfig.from_pretrained(base)
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return loader.from_pretrained(base)


def _save(kind: type, config: PreTrainedConfig, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@functools.cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few sentences: any text goes in, and comes back unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
