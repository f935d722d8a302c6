"""Compiles what routing launches on a GPU, for GPUs that need not be there: the program of test_gpu_launches.

python -m tests.routing.gpu_launches ARCHITECTURE DTYPE prints a line of JSON for each compiled kernel. It runs
without Triton's interpreter, so in a process of its own. Launches are written down instead of made.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type

from routing import triton_calls
from routing.accelerated import _module
from routing.fixed_routes import MOST_SLOTS
from routing.routers import Selection

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HEADS = (32, 8, 128), (12, 12, 64), (8, 4, 256)  # heads, those that are kept, and their width
FIXED = 1, MOST_SLOTS  # experts of a token, where its prompt has chosen
ALIGNED = 16  # what Triton lets a compiler know of addresses and sizes


def launches(dtype: torch.dtype) -> dict[str, list[tuple[Any, dict[str, Any]]]]:
    """Every kernel with all that it was launched with, by few and many tokens and experts."""
    made: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
    said = ""

    def written(kernel: Any, *args: Any, grid: Any, warmup: bool, **fixed: Any) -> None:
        named = dict(zip(kernel.arg_names, args, strict=False)) | fixed
        made.setdefault(f"{kernel.__name__}, {said}", []).append((kernel, named))

    JITFunction.run = written
    few = triton_calls.FEW
    for experts in (5, 16, 20, 32):
        module = _module(experts, torch.Generator().manual_seed(0), torch.device("cpu"), dtype)
        for tokens in (1, 3, 16, few, few + 2, few + 16):
            said = f"{'few' if tokens <= few else 'many'} tokens"
            hidden = torch.zeros(tokens, module.a.shape[1], dtype=dtype)
            chosen = triton_calls.arrow(hidden, module, 1.0, 2)
            chosen.experts.zero_()  # nothing was written: these are the numbers of whatever lay there
            triton_calls.mix(torch.zeros(tokens, module.b.shape[1], dtype=dtype), hidden, chosen, module)
            triton_calls.choose(torch.zeros(tokens, experts), 1.0, 2)
            for k in FIXED:
                said = f"{'few' if tokens <= few else 'many'} tokens of {k}"
                nobody = Selection(torch.zeros(tokens, k, dtype=torch.int64), torch.zeros(tokens, k))
                triton_calls.mix(torch.zeros(tokens, module.b.shape[1], dtype=dtype), hidden, nobody, module)
    for heads, kept, width in HEADS:
        said = f"{heads} heads of {width}"
        for answers in (1, 2, 16, few):
            query, key = (torch.zeros(answers, count, width, dtype=dtype) for count in (heads, kept))
            buffer = torch.zeros(5, answers, dtype=torch.int64)
            for window in (None, 1, 32):
                triton_calls.attend(query, key, key, buffer[1:], buffer[0], 0.1, window)
    return made


def source(kernel: Any, named: dict[str, Any]) -> ASTSource:
    """The kernel as Triton would compile it for these arguments."""
    signature, constants, attributes = {}, {}, {}
    for place, parameter in enumerate(kernel.params):
        value = named[parameter.name]
        special = not parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (special and isinstance(value, int) and value == 1):
            signature[parameter.name], constants[(place,)] = "constexpr", value
            continue
        signature[parameter.name] = mangle_type(value)
        number = value.data_ptr() if isinstance(value, torch.Tensor) else value
        if special and isinstance(number, int) and number % ALIGNED == 0:
            attributes[(place,)] = [["tt.divisibility", ALIGNED]]
    return ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)


def main() -> None:
    """Compile all of them for one architecture in one dtype; `variants` are how many Triton would tell apart."""
    architecture, dtype = int(sys.argv[1]), DTYPES[sys.argv[2]]
    for name, made in launches(dtype).items():
        _, named = made[0]
        sources = [source(*one) for one in made]
        variants = {repr((one.signature, one.constants, one.attrs)) for one in sources}
        compiled = triton.compile(
            sources[0],
            target=GPUTarget("cuda", architecture, 32),
            options={one: named[one] for one in ("num_warps", "num_stages") if one in named},
        )
        used = re.findall(r"\b(?:mma\.sync|wgmma|tcgen05\.mma)\S*", compiled.asm["ptx"])
        found = {
            "kernel": name,
            "variants": len(variants),
            "multiply": sorted(set(used)),
            "shared": compiled.metadata.shared,
        }
        print(json.dumps(found))


if __name__ == "__main__":
    main()
