"""Every example in the README and the documentation runs.

A page is a story: its blocks run in order, in one folder and one Python namespace.

- A fence with `title="path"` is a file: it is written there, and a recipe among them must load.
- A `python` fence without a title is executed.
- A `yaml` fence without a title that has `stages:` is a recipe and must load; any other must be YAML.
- In a `console` fence, each line `$ aftertrain COMMAND …` with a light command must succeed. Commands that train or
  install are not run here: the quickstart has its own part in `.ci/run`.

`<!-- not run: REASON -->` on the line before a fence exempts it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
LIGHT = {
    "--help", "--version", "list", "show", "plugins", "doctor", "schema", "new", "check-plugin", "plan",
    "verify",
}  # fmt: skip
FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+|~~~+)(?P<language>\w+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$",
    re.MULTILINE | re.DOTALL,
)
EXEMPT = re.compile(r"<!-- not run: \S.* -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page; `line` is that of its opening fence."""

    line: int
    language: str
    title: str | None
    text: str


def blocks(page: str) -> list[Block]:
    """Fenced blocks in order, without those exempted."""
    found = []
    for match in FENCE.finditer(page):
        if EXEMPT.search(page[: match.start()]):
            continue
        title = re.search(r'title="([^"]+)"', match["info"])
        line = page[: match.start()].count("\n") + 1
        found.append(Block(line, match["language"], title and title[1], dedent(match["text"])))
    return found


def commands(text: str) -> list[list[str]]:
    """Light `aftertrain` commands of a console block; a line that ends in a backslash goes on."""
    joined = re.sub(r"\\\n\s*", "", text)
    prompts = [line[2:] for line in joined.splitlines() if line.startswith("$ aftertrain ")]
    split = [shlex.split(prompt, comments=True) for prompt in prompts]
    return [words for words in split if words[1] in LIGHT]


def load(recipe: Path) -> None:
    import aftertrain

    aftertrain.load_recipe(str(recipe))


def play(block: Block, where: str, namespace: dict[str, object]) -> None:
    """Run one block in the current folder."""
    if block.title is not None:
        path = Path(block.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        if block.language == "yaml" and re.search(r"^stages:", block.text, re.MULTILINE):
            load(path)
    elif block.language == "python":
        exec(compile("\n" * block.line + block.text, where, "exec"), namespace)
    elif block.language in ("yaml", "yml"):
        if re.search(r"^stages:", block.text, re.MULTILINE):
            path = Path(f"recipe-{block.line}.yaml")
            path.write_text(block.text, encoding="utf-8")
            load(path)
        else:
            from ruamel.yaml import YAML

            YAML(typ="safe").load(block.text)
    elif block.language == "console":
        for words in commands(block.text):
            program = Path(sys.executable).with_name("aftertrain")
            done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = page.relative_to(ROOT).as_posix()
    namespace: dict[str, object] = {"__name__": "__example__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        try:
            play(block, name, namespace)
        except Exception as error:
            raise AssertionError(f"{name}:{block.line}: the example fails: {error}") from error


def test_blocks_are_read() -> None:
    """The reader itself: languages, titles, indented fences in lists, exempted blocks, commands over two lines."""
    page = dedent(
        """\
        ```python title="a/b.py"
        x = 1
        ```
        1. step

            ```console
            $ aftertrain show loss \\
                dpo  # the settings
            $ aftertrain run quickstart
            some output
            ```
        <!-- not run: needs a GPU -->
        ```python
        1 / 0
        ```
        """
    )
    first, second = blocks(page)
    assert (first.line, first.language, first.title, first.text) == (1, "python", "a/b.py", "x = 1\n")
    assert (second.line, second.language, second.title) == (6, "console", None)
    assert commands(second.text) == [["aftertrain", "show", "loss", "dpo"]]


def test_a_wrong_example_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError):
        play(Block(1, "python", None, "1 / 0"), "page.md", {})
