"""What a worker's process needs, imported once by the server that mortal ones are born from.

Only imported: what would begin a thread, or open a connection, must not be in the one that is copied.
"""

import gc
import importlib

import django

gc.disable()  # there is next to no garbage while modules are imported, and much to look through for it
django.setup()
for name in (
    "peft",
    "transformers.models.llama.modeling_llama",
    "transformers.models.gpt2.modeling_gpt2",
    "tests.workers.mortal",
):
    importlib.import_module(name)
gc.freeze()
gc.enable()
