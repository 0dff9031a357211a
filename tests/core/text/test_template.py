"""Chat templates are programs: those without end are refused, with their file, and all others render as ever."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.records import Message
from aftertrain.core.text.chat import TULU_TEMPLATE, UnusableRow, load_tokenizer, render_text
from aftertrain.core.text.template import TemplateTooLarge, render_template
from aftertrain.core.text.tokens import tokenise_text

TALK = (Message("user", "How many?"), Message("assistant", "Four."))
ROUNDS = "{% for a in range(99999) %}"
ENDS = "{% endfor %}"

ENDLESS = {
    "loops in loops": ROUNDS * 3 + "x" + ENDS * 3,
    "loops whose rounds are all left out": ROUNDS + "{% for b in range(99999) if false %}{% endfor %}" + ENDS,
    "doubling by +": "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
    "doubling of a list": "{% set n = namespace(t=[1]) %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}",
    "doubling by a block": (
        "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set t %}{{ n.t }}{{ n.t }}{% endset %}"
        "{% set n.t = t %}{% endfor %}"
    ),
    "doubling by a filter": "{% set n = namespace(t='ab') %}{% for i in range(60) %}"
    "{% set n.t = [n.t, n.t] | join %}{% endfor %}",
    "doubling by join": "{% set n = namespace(t='ab') %}{% for i in range(60) %}"
    "{% set n.t = ''.join([n.t, n.t]) %}{% endfor %}",
    "doubling by replace": "{% set n = namespace(t='ab') %}{% for i in range(60) %}"
    "{% set n.t = n.t.replace('a', 'aa') | replace('a', n.t) %}{% endfor %}",
    "doubling by format": "{% set n = namespace(t='ab') %}{% for i in range(60) %}"
    "{% set n.t = '%s%s' % (n.t, n.t) %}{% endfor %}",
    "a text many times": "{{ 'a' * 10000000000 }}",
    "a list many times": "{{ [0] * 10000000000 }}",
    "a number too large": "{{ 9 ** (9 ** 9) }}",
    "numbers squared": "{% set n = namespace(t=9) %}{% for i in range(60) %}{% set n.t = n.t * n.t %}{% endfor %}",
    "a width": "{{ 'a' | center(1000000000) }}",
    "a width of a method": "{{ 'a'.ljust(1000000000) }}",
    "a width in a format": "{{ '{:1000000000}'.format('a') }}",
    "a width in a percent format": "{{ '%1000000000d' % 1 }}",
    "a width beside a percent format": "{{ '%*d' % (1000000000, 1) }}",
    "an indent": "{{ [1, 2] | tojson(indent=1000000000) }}",
    "many slices": "{{ [1] | slice(1000000000) | list }}",
    "a long text, kept": "{% set n = namespace(t=[]) %}" + ROUNDS + "{% set n.t = n.t + ['a' * 99999] %}" + ENDS,
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "a loop that calls itself": "{% for i in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < 60 }}{% endfor %}",
}
"""Refused whatever the row."""

ODD = {
    "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "division by zero": "{{ 1 // 0 }}",
    "an attribute of nothing": "{{ messages.no.such }}",
    "an index": "{{ messages[9]['role'] }}",
    "a range too long": "{% for i in range(1000000000) %}{% endfor %}",
    "texts and numbers": "{{ 'a' + 1 }}",
    "unsafe": "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "its own": "{{ raise_exception('odd') }}",
    "unpacking": "{% set a, b = [1, 2, 3] %}",
    "an include": "{% include 'x' %}",
}
"""What a template raises on a row makes the row unusable."""

BROKEN = {
    "a tag left open": "{% for m in messages %}",
    "no expression": "\n\n{{ }}",
    "an unknown filter": "{{ messages | nothing }}",
    "an unknown tag": "{% forever %}",
    "too long": "x" * (2**20 + 1),
}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_end_is_refused_with_its_file(name: str, folder: Path) -> None:
    """They took all memory, or all time, in `plan`."""
    (folder / "chat_template.jinja").write_text(ENDLESS[name] + TULU_TEMPLATE)
    with pytest.raises(ModelError, match=r"chat_template\.jinja: the chat template cannot be used: it "):
        render_text(load_tokenizer(str(folder)), TALK, generation_prompt=False)


@pytest.mark.parametrize("name", ODD)
def test_what_a_template_raises_makes_a_row_unusable(name: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(ODD[name] + TULU_TEMPLATE)
    with pytest.raises(UnusableRow) as caught:
        render_text(load_tokenizer(str(folder)), TALK, generation_prompt=False)
    assert caught.value.reason == "template"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_template_is_named(name: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(BROKEN[name])
    with pytest.raises(ModelError, match=r"chat_template\.jinja(:\d+)?: "):
        render_text(load_tokenizer(str(folder)), TALK, generation_prompt=False)


def test_a_long_conversation_is_not_taken_for_a_template_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and characters grow with the row: here every character of a text is looked at."""
    monkeypatch.setattr("aftertrain.core.text.template.STEPS", 10)
    monkeypatch.setattr("aftertrain.core.text.template.CHARACTERS", 10)
    template = (
        "{% set n = namespace(t='', c=0) %}{% for m in messages %}{% for c in m['content'] %}"
        "{% set n.c = n.c + 1 %}{% endfor %}{% set n.t = m['role'] ~ m['content'] %}{{ n.t }}{% endfor %}{{ n.c }}"
    )
    turns = [{"role": "user", "content": "a" * 100}] * 50
    assert render_template(template, turns).endswith("a5000")
    assert len(render_template(TULU_TEMPLATE, [{"role": "user", "content": "a" * 2**24}])) == 2**24 + 10


def test_a_template_that_doubles_with_the_turns_is_refused_on_the_row_that_shows_it() -> None:
    template = "{% set n = namespace(t='a') %}{% for m in messages %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}"
    turn = {"role": "user", "content": "a"}
    assert len(render_template(template, [turn] * 4)) == 16
    with pytest.raises(TemplateTooLarge):
        render_template(template, [turn] * 60)


BAD_FILES: dict[str, dict[str, str | None]] = {
    "no JSON": {"tokenizer.json": "{"},
    "no object": {"tokenizer.json": "[]"},
    "empty": {"tokenizer.json": ""},
    "no tokenizer": {"tokenizer.json": "{}"},
    "another model": {"tokenizer.json": '{"version": "1.0", "model": {"type": "Nothing"}}'},
    "a list": {"tokenizer_config.json": "[1, 2]"},
    "a number": {"tokenizer_config.json": '{"eos_token": 7}'},
    "deep": {"tokenizer_config.json": "[" * 100_000},
    "cut": {"tokenizer_config.json": '{"eos_token": "<e'},
    "unknown class": {"tokenizer_config.json": '{"tokenizer_class": 3}'},
    "no template": {"tokenizer_config.json": '{"chat_template": 7, "eos_token": "<eos>"}', "chat_template.jinja": None},
    "no end": {"tokenizer_config.json": "{}"},
    "no length": {"tokenizer_config.json": '{"eos_token": "<eos>", "model_max_length": "many"}'},
    "ends of two kinds": {"tokenizer_config.json": '{"eos_token": ["<eos>"]}'},
    "tokens that are none": {"tokenizer_config.json": '{"added_tokens_decoder": {"x": {"content": 3}}}'},
    "code": {"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["x.X", null]}, "tokenizer_class": "X"}'},
    "config": {"config.json": "{"},
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_broken_tokenizer_is_an_error_that_names_its_file(name: str, folder: Path) -> None:
    for file, text in BAD_FILES[name].items():
        if text is None:
            (folder / file).unlink()
        else:
            (folder / file).write_text(text)
    named = next(iter(BAD_FILES[name]))
    if named == "config.json":
        (folder / "tokenizer_config.json").unlink()
    with pytest.raises((ModelError, DataError)) as caught:
        render_text(load_tokenizer(str(folder)), TALK, generation_prompt=False)
    assert named in str(caught.value)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_bytes_that_are_no_text_are_an_error_that_names_their_file(file: str, folder: Path) -> None:
    (folder / file).write_bytes(b"\xff\xfe{")
    with pytest.raises(ModelError, match=file.replace(".", r"\.")):
        load_tokenizer(str(folder))


def test_a_file_too_large_is_not_read(folder: Path) -> None:
    with (folder / "tokenizer_config.json").open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: .*too large"):
        load_tokenizer(str(folder))


def test_a_text_that_a_tokenizer_has_no_token_for_is_unusable(folder: Path) -> None:
    """Words alone, and none for what is unknown: a plain Exception of the library, without the row."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<eos>": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    assert tokenise_text(tokenizer, "a b").token_ids == (0, 1, 2)
    with pytest.raises(UnusableRow, match="the tokenizer does not take the text") as caught:
        tokenise_text(tokenizer, "a c")
    assert caught.value.reason == "not_tokenised"


def test_templates_render_as_transformers_renders_them(folder: Path) -> None:
    """Whatever an environment does, ours does: filters, control of loops, generation marks, white space, globals."""
    tokenizer: Any = load_tokenizer(str(folder))
    tokenizer.chat_template = (
        "{{ bos_token }}\n{%- for m in messages %}\n    {% if loop.index0 == 5 %}{% break %}{% endif %}\n"
        "{{ m | tojson }} {{ m.content | upper | replace('H', 'J') | indent(2) ~ loop.index ~ none }}\n"
        "{% generation %}{{ '%s-%d' % (m['role'], 3) }}{{ 'a' * 3 + 'b' }}{% endgeneration %}"
        "{% set x = namespace(v=2 ** 8) %}{{ x.v % 7 }}{{ dict(a=1) }}{% endfor %}"
        "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}"
        "{% call f(3) %}!{% endcall %}"
        "{{ messages | map(attribute='role') | join(', ') }}{{ messages[1:] | length }}"
        "{% for k, v in messages[0] | items if k != 'role' recursive %}{{ k }}{{ v }}{% else %}none{% endfor %}"
        "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ 'é' | tojson }}"
    )
    turns = [{"role": message.role, "content": message.content} for message in TALK]
    for prompt in (True, False):
        theirs = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
        assert render_text(tokenizer, TALK, generation_prompt=prompt) == theirs
