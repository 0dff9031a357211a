"""The live view: a bar for the running stage with its figures below, redrawn in place; lines scroll above it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console as Terminal
from rich.console import RenderableType
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from aftertrain.core.ground.cleaning import printable
from aftertrain.plugins.observers.progress import Progress
from aftertrain.plugins.observers.wording import duration, figure


class _StageBars(Bars):
    """Bars with lines of figures below each, so that neither is cut short on a narrow terminal."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, then the figures."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            for line in task.fields["lines"]:
                yield Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")


class LiveView:
    """Drawn with rich."""

    def __init__(self, terminal: Terminal | None = None) -> None:
        self.terminal = terminal or Terminal(highlight=False, soft_wrap=True)
        self.bars = _StageBars(
            SpinnerColumn(),
            _whole("[bold]{task.description}"),
            BarColumn(bar_width=20),
            _whole("{task.fields[count]}"),
            _whole("{task.fields[speed]}"),
            console=self.terminal,
            transient=True,
            refresh_per_second=4,
        )
        self.tasks: dict[str, TaskID] = {}
        self.bars.start()

    def line(self, text: str, style: str = "") -> None:
        """A line above the bars."""
        shown = printable(text, self.terminal.encoding).replace("\n", "\n    ")
        self.bars.console.print(Text(shown, style=style))

    def progress(self, stage: str, progress: Progress, *lines: str) -> None:
        """Move the stage's bar."""
        if stage not in self.tasks:
            self.tasks[stage] = self.bars.add_task(stage, total=None, count="", speed="", lines=())
        of = f"/{progress.total}" if progress.total else ""
        speed = f"{figure(progress.rate)} {progress.unit}/s" if progress.rate is not None else ""
        left = f"{duration(progress.left)} left" if progress.left is not None else ""
        self.bars.update(
            self.tasks[stage],
            completed=progress.done,
            total=progress.total,
            count=f"{progress.done}{of} {progress.unit}" if progress.unit else "",
            speed="  ".join(word for word in (speed, left) if word),
            lines=tuple(printable(line, self.terminal.encoding).replace("\n", " ") for line in lines if line),
        )

    def finish(self, stage: str) -> None:
        """Take the bar away; its last figures stay in a line."""
        if stage in self.tasks:
            self.bars.remove_task(self.tasks.pop(stage))

    def close(self) -> None:
        """Give the terminal back."""
        self.bars.stop()


def _whole(text: str) -> TextColumn:
    """A column that is never wrapped."""
    return TextColumn(text, table_column=Column(no_wrap=True))
