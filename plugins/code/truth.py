"""Reads the ground truths of tests of programs (F32): HumanEval, MBPP, lists of asserts, standard input and output.

Each becomes one of two things: tests of functions (`Functions`), or pairs of input and output (`Streams`).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aftertrain.core.errors import unknown
from aftertrain.core.records import JSON
from aftertrain.core.sandbox.limits import UnitTests
from aftertrain.plugins.code.suite import parsed
from aftertrain.plugins.code.suite import read as _read_suite

FORMS = (
    '{"test", "entry_point"} (HumanEval), {"test_list"} (MBPP), a list of asserts, {"inputs", "outputs"} or a list of '
    '{"input", "output"}'
)
_FUNCTION = {"test", "entry_point", "prompt", "canonical_solution", "task_id"}
_ASSERTS = {"test_list", "test_setup_code", "test_imports", "challenge_test_list", "entry_point", "prompt", "task_id"}
_ASSERTS |= {"text", "code", "source_file"}
_STREAMS = {"inputs", "outputs", "fn_name"}
_PAIR = {"input", "output", "testtype", "metadata"}


@dataclass(frozen=True)
class Functions:
    """Tests of functions; `prompt` is the source that the reply may continue."""

    tests: UnitTests
    prompt: str = ""


Streams = tuple[tuple[str, str], ...]
"""Standard inputs and the outputs that they should give."""


def read(truth: JSON) -> Functions | Streams:
    """The tests that a ground truth holds; a text is read as JSON.

    Raises:
        ValueError: it is of no known form; the message says what it is.
    """
    if isinstance(truth, str):
        truth = _from_json(truth, f"; it should be {FORMS}")
    if isinstance(truth, list) and truth:
        if all(isinstance(item, str) for item in truth):
            return Functions(_asserts(truth, []))
        if all(isinstance(item, Mapping) and {"input", "output"} <= set(item) for item in truth):
            for item in truth:
                _known(item, _PAIR)
            if any(item.get("testtype", "stdin") != "stdin" for item in truth):
                return _calls(truth)
            return tuple((_text(item["input"]), _text(item["output"])) for item in truth)
    if isinstance(truth, Mapping):
        return _mapping(truth)
    kind = _kind(truth)
    if isinstance(truth, list):
        kinds = sorted({type(item).__name__ for item in truth})
        kind = f"a list of {', '.join(kinds)}" if kinds else "an empty list"
    raise ValueError(f"the ground truth is {kind}; it should be {FORMS}")


def suite(truth: JSON, module: str) -> Functions:
    """The tests of a module for pytest: its source, or a mapping with `test`; a text may be the mapping's JSON.

    Raises:
        ValueError: see `suite.read`.
    """
    if isinstance(truth, str) and truth.lstrip().startswith("{"):
        truth = _from_json(truth)
    if isinstance(truth, Mapping):
        _known(truth, {"test", "task_id", "source_file"})
        truth = _string(truth, "test")
    if not isinstance(truth, str):
        raise ValueError(f"the ground truth is {_kind(truth)}; with tests: pytest it should be a test module's source")
    return Functions(_read_suite(truth, module))


def _from_json(truth: str, advice: str = "") -> JSON:
    try:
        return json.loads(truth)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the ground truth is a text that is no JSON ({error}){advice}") from error


def _mapping(truth: Mapping[str, Any]) -> Functions | Streams:
    forms = [name for name in ("test", "test_list", "inputs") if name in truth]
    if not forms:
        keys = ", ".join(map(str, truth)) or "(none)"
        raise ValueError(f"the ground truth has the keys {keys}; it should be {FORMS}")
    if len(forms) > 1:
        raise ValueError(f"the ground truth mixes {' and '.join(forms)}")
    if forms == ["test"]:
        _known(truth, _FUNCTION)
        entry, test, prompt = (_string(truth, key) for key in ("entry_point", "test", "prompt"))
        if not entry.isidentifier():
            raise ValueError(f"entry_point should be the name of a function, not {entry[:100]!r}")
        _check_python(test)
        preamble = tuple(source for source in (helpers(prompt, entry), test) if source)
        return Functions(UnitTests((f"check({entry})",), preamble, entry), prompt)
    if forms == ["test_list"]:
        _known(truth, _ASSERTS)
        setup = str(truth.get("test_setup_code") or "")
        parsed(setup, "test_setup_code of the ground truth")
        imports = _strings(truth.get("test_imports") or [], "test_imports")
        challenge = _strings(truth.get("challenge_test_list") or [], "challenge_test_list")
        tests = _strings(truth["test_list"], "test_list") + challenge
        named = truth.get("entry_point")
        return Functions(_asserts(tests, [*imports, setup], named if isinstance(named, str) else None))
    _known(truth, _STREAMS)
    inputs, outputs = truth["inputs"], truth.get("outputs")
    if not (isinstance(inputs, list) and isinstance(outputs, list) and len(inputs) == len(outputs) and inputs):
        raise ValueError("inputs and outputs should be lists of one length, not empty")
    name = truth.get("fn_name")
    if name is None:
        return tuple((_text(stdin), _text(wanted)) for stdin, wanted in zip(inputs, outputs, strict=True))
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"fn_name should be the name of a function, not {str(name)[:100]!r}")
    calls = tuple(
        (_arguments(given), *_results(wanted, literal=isinstance(given, list)))
        for given, wanted in zip(inputs, outputs, strict=True)
    )
    return Functions(UnitTests(entry=name, calls=calls))


@lru_cache(512)
def _check_python(test: str) -> None:
    """See that a test is Python; many replies have the same one, and those of HumanEval+ are megabytes.

    Raises:
        ValueError: it is none.
    """
    parsed(test, "test of the ground truth")


@lru_cache(512)
def helpers(prompt: str, entry: str) -> str:
    """What a HumanEval prompt defines besides the function to be written: its imports and helper functions.

    >>> helpers("import math\\ndef one():\\n    return 1\\ndef two():\\n    'twice one'\\n", "two")
    'import math\\n\\ndef one():\\n    return 1'
    """
    try:
        tree = parsed(prompt, "the prompt")
    except ValueError:
        return ""
    nodes = [node for node in tree.body if getattr(node, "name", None) != entry]
    return ast.unparse(ast.Module(nodes, []))


def _asserts(tests: Sequence[str], before: Sequence[str], entry: str | None = None) -> UnitTests:
    if not tests:
        raise ValueError("the ground truth holds no tests")
    statements = tuple(test for test in tests if parsed(test, "a test of the ground truth").body)
    if not statements:
        raise ValueError("the ground truth holds no tests, only blank ones")
    return UnitTests(statements, tuple(source for source in before if source.strip()), entry)


def _calls(items: Sequence[Mapping[str, Any]]) -> Functions:
    """LiveCodeBench's functional tests; the function's name is in `metadata`."""
    names = {_metadata(item).get("func_name") for item in items}
    (name, *others) = names
    if others or not isinstance(name, str) or not name.isidentifier():
        raise ValueError('functional tests need one function name, as "metadata": {"func_name": …} of each test')
    calls = tuple(
        ([_value(line) for line in _text(item["input"]).splitlines()], _value(_text(item["output"]))) for item in items
    )
    return Functions(UnitTests(entry=name, calls=calls))


def _metadata(item: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = item.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = json.loads(metadata)
    return metadata if isinstance(metadata, Mapping) else {}


def _arguments(arguments: Any) -> list[Any]:
    """APPS lists the arguments; as a text, each line is one."""
    return [_value(line) for line in arguments.splitlines()] if isinstance(arguments, str) else list(arguments)


def _results(wanted: Any, *, literal: bool) -> list[Any]:
    """What is accepted: APPS wraps most results in a list of one, and takes either for right.

    Args:
        literal: a text may be the result itself, as beside a list of arguments; else it is JSON, as beside their text.
    """
    if isinstance(wanted, str) and not literal:
        return [_value(wanted)]
    if isinstance(wanted, str):
        with suppress(ValueError, RecursionError):
            return [wanted, json.loads(wanted)]
    return [wanted, wanted[0]] if isinstance(wanted, list) and len(wanted) == 1 else [wanted]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"an argument or result of a functional test is no JSON: {text[:100]!r}") from error


def _text(value: Any) -> str:
    """Input or output as text; APPS writes some as lists of lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    if isinstance(value, int | float):
        return str(value)
    raise ValueError(f"an input or output should be a text, not {_kind(value)}")


def _strings(value: Any, name: str) -> list[str]:
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise ValueError(f"{name} should be a list of texts, not {_kind(value)}")
    return value


def _string(truth: Mapping[str, Any], key: str) -> str:
    value = truth.get(key, "" if key == "prompt" else None)
    if not isinstance(value, str):
        raise ValueError(f"{key} should be a text, not {_kind(value)}")
    return value


def _known(truth: Mapping[str, Any], keys: set[str]) -> None:
    for key in truth:
        if key not in keys:
            raise ValueError("the ground truth: " + unknown("key", str(key), keys))


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
