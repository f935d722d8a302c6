"""The README that a demonstration adapter is uploaded with."""

from demo.recipes import Recipe
from demo.tasks import BASE_ID, Task


def card(task: Task, recipe: Recipe) -> str:
    """A model card with YAML front matter, as model hubs read them."""
    row = task.train_rows[0]
    where = "every layer" if recipe.layers is None else f"layers {', '.join(map(str, recipe.layers))}"
    return f"""---
base_model: {BASE_ID}
library_name: peft
license: apache-2.0
pipeline_tag: text-generation
tags:
- lora
- {task.name}
---

# {task.adapter}

{task.description}

Rank {recipe.rank}, alpha {recipe.alpha}{" (rank-stabilised)" if recipe.rslora else ""}, on
{", ".join(recipe.targets)} in {where}; trained with PEFT on {len(task.train_rows)} rows.
Its test rows share no {task.unseen} with them.

Example:

```text
{row.prompt}{row.completion.rstrip()}
```
"""
