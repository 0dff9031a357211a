"""The quickstart takes as long on every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/index.md", "docs/tutorial/quickstart.md", "docs/performance.md", "configs/quickstart.yaml")


@pytest.mark.parametrize("page", PAGES)
def test_the_quickstart_takes_as_long_everywhere(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").replace("#", " ").split())
    (told,) = re.findall(r"(?:\w+ )?\w+ minutes?\b.{20}", text)
    assert told.startswith("about two minutes on one CPU core")
