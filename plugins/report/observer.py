"""The observer `html`: writes the report when a run ends, however it ends."""

from __future__ import annotations

from pathlib import Path

from aftertrain.core.errors import RunError
from aftertrain.core.events import Entry
from aftertrain.core.ground.cleaning import clean
from aftertrain.core.observer import Observer
from aftertrain.plugins.report.settings import HtmlSettings


class Html(Observer[HtmlSettings]):
    """Writes `report.html` into the run's folder; `write` also makes one from a run of the past."""

    Config = HtmlSettings

    _folder: Path | None = None
    _seen = False

    def open(self, run_folder: Path) -> None:
        """Remember where the report goes."""
        self._folder = run_folder

    def on_event(self, entry: Entry) -> None:
        """Remember that there is something to report; the report is drawn from the file of events."""
        self._seen = True

    def close(self) -> None:
        """Write the report of a run in which anything happened.

        Raises:
            RunError: see `write`.
        """
        if self._folder is not None and self._seen:
            self.write(self._folder, self._folder / self.settings.file)

    def write(self, run_folder: Path, out: Path) -> Path:
        """Render the run in `run_folder` into the file `out`, whole or not at all.

        Raises:
            RunError: the folder holds no run, one of its files is damaged, or `out` cannot be written.
        """
        from aftertrain.plugins.report.page import render

        html = render(run_folder, self.settings)
        draft = out.with_name(f".writing-{out.name}")
        try:
            draft.write_text(clean(html), encoding="utf-8")
            draft.replace(out)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise RunError(f"{out}: cannot write the report: {error.strerror or error}; give another --out") from error
        return out
