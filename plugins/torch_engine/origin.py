"""Which model adapters belong to, in words that hold on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aftertrain.core.run.base_model import model_digest

CARD = """---
library_name: peft
{front}---
# Low-rank adapters

Trained on {what}.

{load}

The base model's files have the digest `{digest}`
(SHA-256 over their names and contents, as in the run's `manifest.json`).
"""
HUB = """```python
from peft import AutoPeftModelFor{kind}

model = AutoPeftModelFor{kind}.from_pretrained("this folder"{options})
```
"""
LOCAL = """`adapter_config.json` names no base model, because the one they were trained on is a folder of the machine
that trained them, and a path would name something else, or nothing, on another. Load that model yourself:

```python
from peft import PeftModel
from transformers import AutoModelFor{kind}

base = AutoModelFor{kind}.from_pretrained("the base model's folder"{options})
model = PeftModel.from_pretrained(base, "this folder")
```
"""
KINDS = {"CAUSAL_LM": ("CausalLM", ""), "SEQ_CLS": ("SequenceClassification", ", num_labels=1")}


@dataclass(frozen=True)
class Origin:
    """A model on the hub."""

    name: str
    revision: str


def origin(base: str) -> Origin | None:
    """The model that a folder is a copy of, where its path tells: those of the hub's cache hold name and revision.

    >>> origin("/cache/hub/models--allenai--OLMo-2-0425-1B/snapshots/a1f5")
    Origin(name='allenai/OLMo-2-0425-1B', revision='a1f5')
    >>> origin("/home/ann/runs/r/stages/sft-12ab/model")
    """
    path = Path(base)
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith("models--"):
        return Origin("/".join(repository.removeprefix("models--").split("--")), path.name)
    return None


def write_card(folder: Path, base: str, task: str) -> None:
    """Write `README.md` beside adapters: what they belong to, and how they are loaded."""
    on_hub = origin(base)
    kind, options = KINDS[task]
    if on_hub is None:
        front, what, load = "", f"a model from a folder called `{Path(base).name}`", LOCAL
    else:
        front, load = f"base_model: {on_hub.name}\n", HUB
        what = f"`{on_hub.name}` at revision `{on_hub.revision}`"
    load = load.format(kind=kind, options=options)
    text = CARD.format(front=front, what=what, load=load, digest=model_digest(Path(base)))
    (folder / "README.md").write_text(text, encoding="utf-8")
