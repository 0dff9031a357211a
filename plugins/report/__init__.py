"""The report: one self-contained HTML file of a run."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the HTML observer."""
    registry.add(
        "observer",
        "html",
        "aftertrain.plugins.report.observer:Html",
        "aftertrain.plugins.report.settings:HtmlSettings",
        "writes report.html, one file without outside assets, when the run ends",
    )
