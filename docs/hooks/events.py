"""Writes the list of events from their classes."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

from mkdocs.structure.files import File, Files

from aftertrain.core import events
from aftertrain.core.events import EVENTS
from aftertrain.core.events.event import FLAT

PAGE = "reference/events.md"
HEAD = """# Events

Everything that happens in a run is one line of `events.jsonl`, on disk before anyone is told:

    {"name": "metrics", "stage": "sft", "step": 3, "data": {"loss": 0.4}, "attempt": 1, "time": 1796001346.9}

`name` says which of the events below it is, `data` holds its fields; one that is empty may be absent. `step` is null
outside steps, `attempt` counts the starts of the run, `time` is seconds since the epoch. A number that is not finite is
the text `nan`, `inf` or `-inf`. After a `rewind` the lines of its stage's later steps no longer hold:
`aftertrain.core.events.lines.read_events` leaves them out. A plugin's own events are named `plugin/name`.
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """The page: a section for each event, then the types that stand in their fields."""
    classes = [kind for kind in vars(events).values() if inspect.isclass(kind) and kind is not events.Entry]
    parts = sorted((kind for kind in classes if not issubclass(kind, events.Event)), key=lambda kind: kind.__name__)
    texts = [HEAD, *(f"## `{kind.event}`\n\n{_told(kind)}" for kind in EVENTS), "## Types of fields\n"]
    texts += [f"### {kind.__name__}\n\n{_told(kind)}" for kind in parts]
    return "\n".join(texts)


def _told(kind: type[Any]) -> str:
    summary, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    told = dict(re.findall(r"^    (\w+): (.+?)(?=^    \w+: |\Z)", listed, re.MULTILINE | re.DOTALL))
    name = "" if kind not in EVENTS else f" (`aftertrain.core.events.{kind.__name__}`)"
    lines = [summary.strip() + name, ""]
    if fields(kind):
        lines += ["| field | type | |", "|---|---|---|"]
    for part in fields(kind):
        among = " Its entries stand in `data` beside the other fields." if part.metadata.get(FLAT) else ""
        shown = str(part.type).replace("|", "\\|")
        meaning = " ".join(told.get(part.name, "").split())
        lines.append(f"| `{part.name}` | `{shown}` | {meaning[:1].upper()}{meaning[1:]}{among} |")
    return "\n".join(lines) + "\n"
