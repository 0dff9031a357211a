"""Writes the beginnings of a plugin package: one working component of each kind asked for, with tests."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from aftertrain.core.errors import RunError, UnknownName
from aftertrain.core.kinds import KINDS

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_SECTION = re.compile(r"^#--- (\w+)\n", re.MULTILINE)
_IMPORT = re.compile(r"^from (\S+) import (.+)\n", re.MULTILINE)


Sections = Mapping[str, str]
"""One kind's part of a plugin: the text of each section by name."""


def write_plugin(name: str, kinds: Sequence[str], parent: Path) -> list[Path]:
    """Write `parent/<distribution>/`, an installable package, and return its files.

    Args:
        name: the plugin's name; its components are called `name/…`.
        kinds: kinds of component, each once.

    Raises:
        UnknownName: there is no such kind.
        RunError: the name cannot be a plugin's, the folder is there already, or it cannot be written.
    """
    if not _NAME.fullmatch(name) or name == "aftertrain":
        raise RunError(f"{name!r} cannot be a plugin's name: small letters, digits, '_' and '-', a letter first")
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName("kind", kind, KINDS)
    folder = parent / f"aftertrain-{name}"
    if folder.exists():
        raise RunError(f"{folder} is there already; choose another name or remove it")
    written = []
    try:
        for path, text in _files(name, {kind: _sections(kind) for kind in kinds}).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            written.append(file)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return written


def _files(name: str, templates: Mapping[str, Sections]) -> dict[str, str]:
    package = f"aftertrain_{name.replace('-', '_')}"
    words = {"name": name, "package": package, "distribution": f"aftertrain-{name}", "version": version("aftertrain")}
    source = f"src/{package}"
    files = {
        "pyproject.toml": _read("pyproject.toml.tmpl"),
        "README.md": "\n".join([_read("README.md.tmpl"), *(sections["readme"] for sections in templates.values())]),
        f"{source}/__init__.py": _read("register.py.tmpl") + "".join(map(_row, templates, templates.values())),
        f"{source}/settings.py": _module(
            "Settings of the components; no torch is imported here.",
            [sections["settings"] for sections in templates.values()],
        ),
        f"{source}/examples.py": _examples([sections["examples"] for sections in templates.values()]),
        f"{source}/py.typed": "",
        "tests/test_promises.py": _read("test_promises.py.tmpl"),
    }
    for kind, sections in templates.items():
        files[f"{source}/{kind}.py"] = sections["component"]
        files[f"tests/test_{kind}.py"] = sections["test"]
    return {path: _filled(text, words) for path, text in files.items()}


def _row(kind: str, sections: Sections) -> str:
    """A row of the registering module, from the `name`, `class` and `summary` of the component."""
    facts = dict(line.split(": ", 1) for line in sections["facts"].splitlines() if line)
    return (
        "    registry.add(\n"
        f'        "{kind}",\n'
        f'        "{{{{name}}}}/{facts["name"]}",\n'
        f'        "{{{{package}}}}.{kind}:{facts["class"]}",\n'
        f'        "{{{{package}}}}.settings:{facts["class"]}Settings",\n'
        f'        "{facts["summary"]}",\n'
        "    )\n"
    )


def _examples(texts: Sequence[str]) -> str:
    """The module of examples: lines that begin with EXAMPLE or CASE are rows of its two mappings."""
    bodies = [re.sub(r"^(CASE|EXAMPLE) .+\n?", "", text, flags=re.MULTILINE) for text in texts]
    examples, cases = (
        [row for text in texts for row in re.findall(rf"^{word} (.+)$", text, re.MULTILINE)]
        for word in ("EXAMPLE", "CASE")
    )
    mappings = [_mapping("EXAMPLES", examples), *([_mapping("CASES", cases)] if cases else [])]
    return _module("What the conformance kit tries the components with.", [*bodies, *mappings])


def _module(title: str, texts: Sequence[str]) -> str:
    """One module of several texts, their imports merged."""
    imports: dict[str, set[str]] = {}
    for module, names in (line for text in texts for line in _IMPORT.findall(text)):
        imports.setdefault(module, set()).update(names.split(", "))
    lines = {module: f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())}
    standard = [line for module, line in lines.items() if module.partition(".")[0] in sys.stdlib_module_names]
    groups = [standard, [line for line in lines.values() if line not in standard]]
    head = [f'"""{title}"""', "from __future__ import annotations", *("\n".join(group) for group in groups if group)]
    bodies = filter(None, (_IMPORT.sub("", text).strip() for text in texts))
    return "\n\n".join(head) + "\n\n\n" + "\n\n\n".join(bodies) + "\n"


def _mapping(name: str, rows: Sequence[str]) -> str:
    if not rows:
        return f"{name}: dict[tuple[str, str], object] = {{}}"
    return "\n".join([f"{name} = {{", *(f"    {row}" for row in rows), "}"])


def _sections(kind: str) -> Sections:
    parts = _SECTION.split(_read(f"{kind}.tmpl"))
    return dict(zip(parts[1::2], (text.strip("\n") + "\n" for text in parts[2::2]), strict=True))


def _read(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"{{{{{word}}}}}", value)
    return text
