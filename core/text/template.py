"""Chat templates rendered as transformers renders them, but bounded in time and size: they are programs of strangers.

Loops, macros and texts are counted against what a conversation of this size may need, before a text is made. A
template that goes beyond it is refused, with its file, on the first row that shows it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

from jinja2 import Environment, Template, TemplateError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

STEPS = 100_000
"""Rounds of loops and calls of macros that any rendering may take; each character of the conversation adds some."""
CHARACTERS = 32 * 2**20
"""Characters, or items of lists, that any rendering may make on its way."""
SECONDS = 4.0
"""Processor time of any rendering; each character of the conversation adds 30 µs, a single step may too."""
LONGEST_TEMPLATE = 2**20
"""Characters of a template; the longest that are known have some 30,000."""
LARGEST = 100_000
"""Numbers that a filter or a text's method is given (widths, counts), and digits of a number that is made."""
PAUSE = 64
"""Steps between two looks at the clock."""
SEQUENCES, OBJECTS = (str, list, tuple), (dict, Mapping)
"""Kinds of values; of objects the usual one first, as looking for the other takes longer."""
_WIDTH = re.compile(r"\d{6,}")
_WIDTHS = {"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map", "indent", "wordwrap", "tojson"}


RAISED = (
    TemplateError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    AssertionError,
    MemoryError,
)
"""What an expression of a template may raise on a conversation that it does not expect."""


class TemplateTooLarge(Exception):
    """A template wants more steps, characters or time than a conversation needs."""


@dataclass(slots=True)
class _Budget:
    """What is left of a rendering."""

    steps: float
    characters: float
    seconds: float
    until: float | None = None
    unseen: int = 0

    def step(self, count: float = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise TemplateTooLarge(f"it goes on for more than {STEPS:,} steps")
        self.unseen += 1
        if self.unseen == PAUSE:
            self.unseen = 0
            # Reading this clock may take longer than a whole conversation's rendering: few come this far.
            now = time.thread_time()
            if self.until is None:
                self.until = now + self.seconds
            if now > self.until:
                raise TemplateTooLarge(f"it takes more than {SECONDS:g} s")

    def make(self, size: float) -> None:
        self.characters -= size
        if self.characters < 0:
            raise TemplateTooLarge(f"it makes more than {CHARACTERS / 2**20:.0f} million characters")


_left: ContextVar[_Budget | None] = ContextVar("left of a rendering", default=None)


def render_template(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """The text of a conversation under a template, with what transformers gives to templates.

    Raises:
        TemplateTooLarge: it wants more than it may have.
        jinja2.TemplateError: it refuses the conversation, or is no template; and whatever its expressions raise.
    """
    if len(template) > LONGEST_TEMPLATE:
        raise TemplateTooLarge(f"it has {len(template):,} characters, {LONGEST_TEMPLATE:,} at most are read")
    size = _size((messages, variables))
    budget = _Budget(STEPS + 20 * size, CHARACTERS + 4 * size * (len(messages) + 8), SECONDS + 3e-5 * size)
    token = _left.set(budget)
    try:
        text = _compiled(template).render(messages=list(messages), documents=None, **variables)
    finally:
        _left.reset(token)
    return text


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """transformers' environment for chat templates, its filters and globals, under our counts; none is public."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    theirs = _compile_jinja_template("").environment
    ours = Bounded(
        trim_blocks=theirs.trim_blocks,
        lstrip_blocks=theirs.lstrip_blocks,
        extensions=[type(extension) for extension in theirs.extensions.values()],
    )
    ours.filters = {name: _guarded(name, function) for name, function in theirs.filters.items()}
    ours.globals = {name: value for name, value in theirs.globals.items() if name != "lipsum"}
    return ours


class Bounded(ImmutableSandboxedEnvironment):
    """An environment whose loops, macros, operators, filters and methods of texts are counted."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Counting().visit(tree)
        return tree

    @property
    def tick(self) -> bool:
        """Count a step; a property, as the sandbox makes calls slow."""
        _spend().step()
        return True

    def joined(self, *parts: Any) -> str:
        """What `a ~ b` makes."""
        return self.concat(map(str, parts))

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """What a template, a macro or a block has written."""
        texts = list(parts)
        _spend().make(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator, once it is known that its result is not too large."""
        if operator == "+":
            if isinstance(left, SEQUENCES):
                _spend().make(len(left) + (len(right) if isinstance(right, SEQUENCES) else 0))
        elif operator == "*":
            _check_product(left, right)
        elif operator == "**":
            _check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left, right if isinstance(right, tuple) else (right,))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A method or a macro, the former once it is known that its result is not too large."""
        # The sandbox puts its own function around `str.format`.
        method = getattr(obj, "__wrapped__", obj)
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            _check_method(owner, str(getattr(method, "__name__", "")), (*args, *kwargs.values()))
        return super().call(context, obj, *args, **kwargs)


class _Counting(NodeTransformer):
    """Puts a count into every round of a loop and every call of a macro, and before every joining of texts."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.test is not None:
            node.test = nodes.And(_tick(node.lineno), node.test, lineno=node.lineno)
        return self.visit_Macro(node)

    def visit_Macro(self, node: nodes.For | nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_tick(node.lineno), lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        name = nodes.EnvironmentAttribute("joined", lineno=node.lineno)
        return nodes.Call(name, list(node.nodes), [], None, None, lineno=node.lineno)


def _tick(line: int) -> nodes.Expr:
    return nodes.EnvironmentAttribute("tick", lineno=line)


def _spend() -> _Budget:
    """What is left here; a template is compiled and rendered within `render_template` alone."""
    budget = _left.get()
    assert budget is not None
    return budget


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter, once it is known that its result is not too large."""
    skipped = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        value, *others = (*args[skipped:], *kwargs.values()) or (None,)
        _spend().step(1 + _length(value) / 8)
        if isinstance(value, str):
            _check_method(value, name, others)
        _check_numbers(others)
        if name == "join":
            _check_joined(value, others[0] if others else "")
        return function(*args, **kwargs)

    return filtered


def _check_method(text: str, name: str, arguments: Sequence[Any]) -> None:
    """What a method of a text may make of it."""
    _check_numbers(arguments)
    spend = _spend()
    size = len(text)
    texts = [value for value in arguments if isinstance(value, str)]
    if name == "replace" and len(texts) > 1:
        size += (text.count(texts[0]) if texts[0] else len(text) + 1) * len(texts[1])
    elif name == "join" and arguments:
        _check_joined(arguments[0], text)
    elif name == "translate" and arguments and isinstance(arguments[0], Mapping):
        size *= max((len(value) for value in arguments[0].values() if isinstance(value, str)), default=1)
    elif name in _WIDTHS:
        widths = [value for value in arguments if isinstance(value, int)]
        size += max(widths, default=0) * (1 + text.count("\n") + (text.count("\t") if name == "expandtabs" else 0))
        if name in ("format", "format_map"):
            _check_format(text, arguments)
    spend.step(1 + size / 1000)
    spend.make(size)


def _check_joined(parts: Any, between: Any) -> None:
    if isinstance(parts, list | tuple):
        _spend().make(sum(_length(part) for part in parts) + len(parts) * _length(between))


def _check_numbers(arguments: Sequence[Any]) -> None:
    for value in arguments:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise TemplateTooLarge(f"it asks for a width or a count of {_shown(value)}")


def _check_format(text: str, arguments: Sequence[Any]) -> None:
    if _WIDTH.search(text):
        raise TemplateTooLarge("it asks for a width of more than five digits")
    _check_numbers([value for value in arguments if "*" in text or "{" in text])
    _spend().make(len(text) + sum(_length(value) for value in arguments))


def _check_product(left: Any, right: Any) -> None:
    for many, count in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(count, int):
            _spend().make(len(many) * max(0, count))
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > LARGEST:
        raise TemplateTooLarge("it makes a number of more digits than it needs")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > LARGEST:
        raise TemplateTooLarge("it makes a number of more digits than it needs")


def _shown(value: int) -> str:
    return f"{value:,}" if value.bit_length() < 128 else "more digits than can be shown"


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | Mapping | range) else 1


def _size(value: Any) -> int:
    """Characters in a value of JSON; nested more deeply than it can be looked at, only its top counts."""
    left, size = [value], 0
    while left:
        value = left.pop()
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, OBJECTS):
            left += value
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
        size += 1
    return size
