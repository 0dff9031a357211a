"""Settings of the report."""

from __future__ import annotations

from aftertrain.core.settings import PositiveInt, Settings, unhashed


class HtmlSettings(Settings):
    """How the HTML report is written. None of it can change a result."""

    file: str = unhashed(
        "report.html",
        description="Name of the file in the run's folder.",
        pattern=r"^[^/\\\x00]+$",
    )
    problems: PositiveInt = unhashed(
        8, description="Problems whose replies by all models are shown side by side.", le=50
    )
    questions: int = unhashed(
        20, ge=0, le=1000, description="Questions of each task that can be looked through, with the prompt as sent."
    )
    rollouts: int = unhashed(
        10, ge=0, le=200, description="Problems of each online stage whose replies can be looked through, step by step."
    )
    characters: int = unhashed(
        1200, ge=100, le=20_000, description="Characters shown of one prompt or reply; the rest is counted."
    )


DEFAULTS = HtmlSettings()
"""What `aftertrain report` uses."""
