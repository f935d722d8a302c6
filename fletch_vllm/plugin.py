"""vLLM's way in: the entry point `vllm.general_plugins`, called in every process of an engine."""

from __future__ import annotations

from vllm import ModelRegistry

from fletch_vllm.wishes import ARCHITECTURE


def register() -> None:
    """Make the architecture known. By name: nothing is imported before an engine wants it."""
    ModelRegistry.register_model(ARCHITECTURE, "fletch_vllm.model:FletchForCausalLM")
