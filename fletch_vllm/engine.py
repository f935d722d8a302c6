"""What an engine may be asked for beside a checkpoint: what is not done with experts is refused.

Knows vLLM's configuration by its fields alone, so that it can be tried where vLLM is not.
"""

from __future__ import annotations

from typing import Any

from fletch_vllm.errors import NotServable


def refuse(vllm_config: Any) -> None:
    """NotServable for what was asked of the engine and is not done with experts."""
    parallel, text = vllm_config.parallel_config, vllm_config.model_config.hf_config.get_text_config()
    size = parallel.tensor_parallel_size
    heads: int = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    wrong = []
    if vllm_config.lora_config:
        wrong.append("--enable-lora: experts are mixed by their router, not chosen by a request")
    if parallel.pipeline_parallel_size > 1:
        wrong.append(
            f"--pipeline-parallel-size {parallel.pipeline_parallel_size}: it was never tried; leave it out"
        )
    if heads % size:
        wrong.append(
            f"--tensor-parallel-size {size}: the base's {heads} key-value heads cannot be shared out"
        )
    if wrong:
        raise NotServable(wrong)
