"""Hostile replies and ground truths, each with what must come of it.

`MUST` says what an outcome means; a case names one. Long texts are made when asked for, so that collecting the tests
costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.records import Verdict

Text = str | Callable[[], str]

MUST: dict[str, Callable[[Verdict], bool]] = {
    "right": lambda verdict: verdict.value == 1.0,
    "wrong": lambda verdict: verdict.value == 0.0,
    "no answer": lambda verdict: verdict.outcome == "unparsable",
    "not right": lambda verdict: not verdict.value,
    "refused": lambda verdict: verdict.outcome == "error" and bool(verdict.detail),
    "timeout": lambda verdict: verdict.outcome == "timeout",
    "judged": lambda verdict: verdict.outcome in ("scored", "unparsable"),
}
"""By name: `not right` may be wrong, unparsable, an error or a timeout, never a reward."""


@dataclass(frozen=True)
class Case:
    """One hostile case.

    Attributes:
        name: what is hostile about it.
        must: a key of `MUST`.
    """

    name: str
    verifier: str
    must: str
    response: Text
    truth: Any
    settings: dict[str, Any] = field(default_factory=dict)
    prompt: str = ""

    @property
    def id(self) -> str:
        """Unique, for the test's name."""
        chosen = ",".join(f"{key}={value}" for key, value in self.settings.items() if isinstance(value, str | int))
        return f"{self.verifier}{f'[{chosen}]' if chosen else ''}: {self.name}"


def written(text: Text) -> str:
    """The text itself."""
    return text if isinstance(text, str) else text()


ZERO_WIDTH = "\u200b"
TO_LEFT, TO_RIGHT, POP = "\u202e", "\u202d", "\u202c"
SURROGATE = "\ud800"
NULL = "\x00"
MIB_10 = 10 * 2**20

# Texts that hold no answer to anything, whatever is asked.
NOISE: dict[str, Text] = {
    "nothing": "",
    "a null byte": NULL,
    "a lone surrogate": SURROGATE,
    "half of a pair of surrogates, many times": lambda: SURROGATE * 10_000,
    "zero-width characters": lambda: (ZERO_WIDTH + "\ufeff\u2060") * 10_000,
    "right-to-left marks": lambda: (TO_LEFT + POP) * 10_000,
    "combining accents on one letter": lambda: "a" + "\u0301" * 100_000,
    "a letter 10 MB long": lambda: "a" * MIB_10,
    "spaces, 10 MB": lambda: " " * MIB_10,
    "line breaks, 10 MB": lambda: "\n" * MIB_10,
    "tabs and line breaks by turns, 10 MB": lambda: "\t\n" * (MIB_10 // 2),
    "invalid UTF-8 as surrogates": bytes(range(128, 256)).decode("utf-8", "surrogateescape"),
    "control characters": lambda: "".join(map(chr, range(1, 32))) * 1000,
    "emoji joined without end": lambda: "\U0001f468\u200d" * 100_000,
    "parentheses nested 10⁶ deep": lambda: "(" * 1_000_000,
    "brackets nested 10⁶ deep and closed": lambda: "[" * 1_000_000 + "]" * 1_000_000,
    "JSON nested 10⁵ deep": lambda: '{"a":' * 100_000 + "x" + "}" * 100_000,
    "markdown stars": lambda: "*" * 1_000_000,
    "quotation marks": lambda: "\"'" * 500_000,
    "hashes without a number": lambda: "####" * 250_000,
    "a comma after each letter": lambda: "a," * 500_000,
    "sentences of one letter": lambda: "A. " * 300_000,
}

_GSM8K = [
    Case("right answer hidden by a zero-width space", "gsm8k", "not right", f"#### 4{ZERO_WIDTH}2", "42"),
    Case("digits turned around by marks", "gsm8k", "not right", f"#### {TO_LEFT}24{POP}", "42"),
    Case("full-width digits of another number", "gsm8k", "not right", "#### ４１", "42"),
    Case("full-width digits", "gsm8k", "right", "#### ４２", "42"),
    Case("arabic digits", "gsm8k", "not right", "#### ٤٢", "42"),
    Case("superscript digits", "gsm8k", "not right", "#### ⁴²", "42"),
    Case("a sign of another script", "gsm8k", "right", "#### −42", "-42"),
    Case("a sign of another script dropped", "gsm8k", "wrong", "#### −42", "42"),
    Case("a thousand groups", "gsm8k", "wrong", lambda: "#### 1" + r"\,000" * 100_000, "42"),
    Case("the last group of a number", "gsm8k", "wrong", r"is $9{,}042$", "42", {"extract": "flexible"}),
    Case("minus signs, 10⁶", "gsm8k", "not right", lambda: "−" * 1_000_000 + "42", "42", {"extract": "flexible"}),
    Case("superscripts, 10⁶", "gsm8k", "not right", lambda: "²" * 1_000_000, "42", {"extract": "flexible"}),
    Case("roots, 10⁵", "gsm8k", "not right", lambda: "√(" * 100_000 + "42", "42", {"extract": "flexible"}),
    Case("the sign dropped", "gsm8k", "wrong", "#### 42", "-42"),
    Case("the sign added", "gsm8k", "wrong", "#### -42", "42"),
    Case("all answers at once", "gsm8k", "not right", lambda: "#### " + " ".join(map(str, range(10_000))), "42"),
    Case("the first of several marks counts", "gsm8k", "wrong", "#### 41\n#### 42", "42"),
    Case("10⁵ digits", "gsm8k", "wrong", lambda: "#### " + "9" * 100_000, "42"),
    Case("10⁵ digits that are right", "gsm8k", "right", lambda: "#### " + "9" * 100_000, "9" * 100_000),
    Case("10⁵ zeros before the answer", "gsm8k", "right", lambda: "#### " + "0" * 100_000 + "42", "42"),
    Case("an exponent", "gsm8k", "wrong", "#### 1e999999999", "42"),
    Case("a power tower", "gsm8k", "wrong", "#### 9**9**9", "42"),
    Case("not a number", "gsm8k", "not right", "#### nan", "42"),
    Case("infinity", "gsm8k", "not right", "#### inf", "42"),
    Case("dots only", "gsm8k", "not right", "#### ...", "42"),
    Case("commas only", "gsm8k", "not right", lambda: "#### " + "," * 1_000_000, "42"),
    Case("10 MB before the answer", "gsm8k", "right", lambda: "x" * MIB_10 + "#### 42", "42"),
    Case("10 MB of marks", "gsm8k", "not right", lambda: "#### " * (MIB_10 // 5), "42"),
    Case("numbers, 10 MB", "gsm8k", "wrong", lambda: "7 " * (MIB_10 // 2), "42", {"extract": "flexible"}),
    Case("a number of 10 MB", "gsm8k", "wrong", lambda: "7" * MIB_10, "42", {"extract": "flexible"}),
    Case("signs and dollars, 10 MB", "gsm8k", "not right", lambda: "-$" * (MIB_10 // 2), "42", {"extract": "flexible"}),
    Case("dots and digits by turns", "gsm8k", "wrong", lambda: "1." * 1_000_000, "42", {"extract": "tulu"}),
    Case("thousands without end", "gsm8k", "wrong", lambda: "1,000" * 500_000, "42", {"extract": "tulu"}),
    Case("a surrogate in the answer", "gsm8k", "not right", f"#### 4{SURROGATE}2", "42"),
    Case("no ground truth", "gsm8k", "refused", "#### 42", None),
    Case("a boolean as ground truth", "gsm8k", "refused", "#### 1", True),
    Case("a list as ground truth", "gsm8k", "refused", "#### 42", ["42"]),
    Case("a mapping as ground truth", "gsm8k", "refused", "#### 42", {"answer": "42"}),
    Case("a word as ground truth", "gsm8k", "refused", "#### 42", "forty-two"),
    Case("an integer of 10⁵ digits as ground truth", "gsm8k", "wrong", "#### 42", 10**100_000),
    Case("not a number as ground truth", "gsm8k", "refused", "#### nan", float("nan")),
    Case("infinity as ground truth", "gsm8k", "refused", "#### inf", float("inf")),
]

_MATH = [
    Case("a power tower", "math", "not right", r"\boxed{9**9**9}", "42"),
    Case("a power tower in LaTeX", "math", "not right", r"\boxed{9^{9^{9^{9}}}}", "42"),
    Case("a power tower as ground truth", "math", "not right", r"\boxed{42}", "9^{9^{9^{9}}}"),
    Case("a factorial of a factorial", "math", "not right", r"\boxed{((10!)!)!}", "42"),
    Case("a binomial of 10⁹", "math", "not right", r"\boxed{\binom{10^9}{5}}", "42"),
    Case("a binomial of 10⁹ as ground truth", "math", "not right", r"\boxed{42}", r"\binom{10^9}{500000}"),
    Case("a sum without end", "math", "not right", r"\boxed{\sum_{n=1}^{10^{12}} \frac{1}{n^2}}", "42"),
    Case("an integral", "math", "not right", r"\boxed{\int_0^1 e^{e^{e^{x^2}}} \sin(x^x) dx}", "42"),
    Case("a product of 10⁹ factors", "math", "not right", r"\boxed{\prod_{n=1}^{1000000000} n}", "42"),
    Case("a root of a great power", "math", "not right", r"\boxed{\sqrt[1000000]{7^{10000000}}}", "42"),
    Case("a matrix of 10⁴ rows", "math", "not right", lambda: r"\boxed{\begin{pmatrix}" + r"1\\" * 10_000 + "2}", "42"),
    Case("a set of 10⁴ members", "math", "not right", lambda: r"\boxed{\{" + "1," * 10_000 + r"2\}}", "42"),
    Case("braces nested 10⁶ deep", "math", "not right", lambda: r"\boxed" + "{" * 1_000_000, "42"),
    Case(
        "braces nested and closed", "math", "not right", lambda: r"\boxed" + "{" * 500_000 + "7" + "}" * 500_000, "42"
    ),
    Case("fractions nested", "math", "not right", lambda: r"\boxed{" + r"\frac{1}{" * 2000 + "2" + "}" * 2001, "42"),
    Case("roots nested", "math", "not right", lambda: r"\boxed{" + r"\sqrt{" * 5000 + "2" + "}" * 5001, "42"),
    Case("open boxes", "math", "not right", lambda: r"\boxed{" * 200_000, "42"),
    Case("boxes, the right one first", "math", "wrong", r"\boxed{42} or \boxed{41}", "42"),
    Case("boxes of all answers", "math", "not right", lambda: "".join(rf"\boxed{{{n}}}" for n in range(3000)), "42"),
    Case("dollars", "math", "not right", lambda: "$" * 1_000_001, "42"),
    Case("dollars around each letter", "math", "not right", lambda: "$x$" * 200_000, "42"),
    Case("10⁵ digits", "math", "not right", lambda: r"\boxed{" + "9" * 100_000 + "}", "42"),
    Case("10⁵ decimals", "math", "not right", lambda: r"\boxed{0." + "3" * 100_000 + "}", "42"),
    Case("10 MB before the answer", "math", "right", lambda: "x" * MIB_10 + r"\boxed{42}", "42"),
    Case("10 MB in the box", "math", "not right", lambda: r"\boxed{" + "x+" * (MIB_10 // 2) + "1}", "42"),
    Case("backslashes, 10 MB", "math", "not right", lambda: "\\" * MIB_10, "42"),
    Case("a zero-width space in the answer", "math", "not right", rf"\boxed{{4{ZERO_WIDTH}1}}", "42"),
    Case("full-width digits of another number", "math", "not right", r"\boxed{４１}", "42"),
    Case("full-width digits", "math", "right", r"\boxed{４２}", "42"),
    Case("a minus sign of another shape", "math", "not right", r"\boxed{−42}", "42"),
    Case("half of a vulgar fraction", "math", "not right", r"\boxed{42½}", "42"),
    Case("the last group of a number", "math", "not right", r"\boxed{9\,042}", "42"),
    Case("a root of another shape", "math", "not right", r"\boxed{√42}", "42"),
    Case("another currency", "math", "not right", r"\boxed{€42}", r"\$42"),
    Case("two small numbers", "math", "not right", r"\boxed{10^{-19}}", r"10^{-31}"),
    Case("roots of another shape, nested", "math", "not right", lambda: r"\boxed{" + "√(" * 100_000 + "42}", "42"),
    Case("superscripts, 10⁶", "math", "not right", lambda: r"\boxed{42" + "²" * 1_000_000 + "}", "42"),
    Case("parentheses of formulas", "math", "not right", lambda: r"\(" * 500_000 + "42" + r"\]" * 500_000, "42"),
    Case("boxes that make a list", "math", "not right", lambda: ",".join(rf"\boxed{{{n}}}" for n in range(43)), "42"),
    Case("final answer lines", "math", "wrong", lambda: "Final answer: 41\n" * 100_000, "42", {"final_line": True}),
    Case("a solution as ground truth", "math", "refused", r"\boxed{42}", "We add $40 + 2 = 42$. The answer is 42."),
    Case("a solution without an end", "math", "refused", r"\boxed{42}", r"So it is $\boxed{42$."),
    Case("digits turned around by marks", "math", "not right", rf"\boxed{{{TO_LEFT}24{POP}}}", "42"),
    Case("the sign dropped", "math", "not right", r"\boxed{42}", "-42"),
    Case("a program", "math", "not right", r"\boxed{__import__('os')._exit(0)}", "42"),
    Case("a program in SymPy's words", "math", "not right", r"\boxed{exec('import os; os._exit(0)')}", "42"),
    Case("a lambda", "math", "not right", r"\boxed{(lambda: 42)()}", "41"),
    Case("a file to read", "math", "not right", r"\boxed{\input{/etc/passwd}}", "42"),
    Case("a macro that calls itself", "math", "not right", r"\def\x{\x}\boxed{\x}", "42"),
    Case("a division by zero", "math", "not right", r"\boxed{\frac{42}{0}}", "42"),
    Case("zero to the zero", "math", "not right", r"\boxed{0^0}", "42"),
    Case("an undefined value", "math", "not right", r"\boxed{\infty - \infty}", "42"),
    Case("a tautology", "math", "not right", r"\boxed{x = x}", "42"),
    Case("an interval of everything", "math", "not right", r"\boxed{(-\infty, \infty)}", "42"),
    Case("the answer or everything else", "math", "not right", r"\boxed{42 \text{ or } 43}", "42"),
    Case("the empty box", "math", "not right", r"\boxed{}", "42"),
    Case("the empty ground truth", "math", "not right", r"\boxed{}", ""),
    Case("a surrogate in the box", "math", "not right", rf"\boxed{{{SURROGATE}}}", "42"),
    Case("a null byte in the box", "math", "not right", rf"\boxed{{{NULL}}}", "42"),
    Case("letters as indices", "math", "not right", lambda: r"\boxed{" + "_".join("abcdefgh" * 500) + "}", "42"),
    Case("percent signs", "math", "not right", lambda: r"\boxed{" + r"\%" * 100_000 + "}", "42"),
    Case("a list as ground truth", "math", "refused", r"\boxed{42}", ["42"]),
    Case("no ground truth", "math", "refused", r"\boxed{42}", None),
]

_TEXT = [
    Case("zero-width space in a word", "string", "wrong", f"Pa{ZERO_WIDTH}ris", "Paris"),
    Case("cyrillic letters that look latin", "string", "wrong", "\u0420aris", "Paris"),
    Case("the answer written backwards by a mark", "string", "wrong", f"{TO_LEFT}siraP", "Paris"),
    Case("10 MB around the answer", "string", "wrong", lambda: "Paris" * (MIB_10 // 5), "Paris"),
    Case("10 MB of space around the answer", "string", "right", lambda: " " * MIB_10 + "Paris", "Paris"),
    Case("a million aliases", "string", "wrong", "Rome", [f"Paris {n}" for n in range(100_000)]),
    Case("no alias", "string", "refused", "Rome", []),
    Case("an alias that is no text", "string", "refused", "Rome", ["Paris", 7]),
    Case("nothing against nothing", "string", "right", "", ""),
    Case("only articles and points", "string", "judged", "the. a! an?", "Paris", {"normalize": "squad"}),
    Case("words, 10 MB", "f1", "judged", lambda: "word " * (MIB_10 // 5), "a word"),
    Case("the ground truth repeated", "f1", "judged", lambda: "black cat " * 100_000, "black cat"),
    Case("nothing against something", "f1", "wrong", "", "black cat"),
    Case("a number as ground truth", "f1", "refused", "7", 7),
    Case("every alias in one reply", "triviaqa", "wrong", "Paris London Rome Berlin", ["Paris", "London"]),
    Case("a lone surrogate as alias", "triviaqa", "wrong", "Paris", [SURROGATE]),
    Case("a mapping as ground truth", "triviaqa", "refused", "Paris", {"aliases": ["Paris"]}),
    Case("the empty alias", "triviaqa", "not right", "anything at all", [""], {"match": "contains"}),
    Case("an alias of points only", "triviaqa", "not right", "anything at all", ["..."], {"match": "contains"}),
    Case("all letters", "multiple_choice", "not right", "A B C D", "B"),
    Case("all letters in brackets", "multiple_choice", "not right", "(A)(B)(C)(D)", "B"),
    Case("two answers", "multiple_choice", "not right", "The answer is A or B.", "B"),
    Case("an answer denied", "multiple_choice", "not right", "The answer is not B.", "B"),
    Case("letters, 10 MB", "multiple_choice", "not right", lambda: "A" * MIB_10, "B"),
    Case("brackets, 10 MB", "multiple_choice", "not right", lambda: "(B" * (MIB_10 // 2), "C"),
    Case("phrases, 10 MB", "multiple_choice", "not right", lambda: "the answer is " * (MIB_10 // 14), "B"),
    Case("a full-width letter", "multiple_choice", "not right", "The answer is Ｂ.", "A"),
    Case("a cyrillic letter", "multiple_choice", "not right", "The answer is \u0412.", "B"),
    Case("a word as ground truth", "multiple_choice", "refused", "The answer is B.", "Paris"),
    Case("tags, 10 MB", "format", "wrong", lambda: "<think>" * (MIB_10 // 7), None),
    Case("tags the wrong way round", "format", "wrong", "</think><think></answer><answer>", None),
    Case("tags in tags", "format", "wrong", "<think><answer>7</think></answer>", None),
    Case("tags opened and never closed", "format", "wrong", lambda: "<think><answer>" * 200_000, None),
]


def _asked(name: str, **arguments: Any) -> dict[str, Any]:
    """Ground truth of one instruction."""
    return {"instruction_id_list": [name], "kwargs": [arguments]}


_BRACES = _asked("detectable_format:json_format")
_PLACES = _asked("detectable_content:number_placeholders", num_placeholders=3)
_HIGHLIGHTS = _asked("detectable_format:number_highlighted_sections", num_highlights=3)
_WORDS = _asked("length_constraints:number_words", relation="at least", num_words=5)
_SENTENCES = _asked("length_constraints:number_sentences", relation="at least", num_sentences=3)
_END = _asked("startend:end_checker", end_phrase="The end.")
_FRENCH = _asked("language:response_language", language="fr")

_INSTRUCTIONS = [
    Case(
        "JSON nested 10⁵ deep and closed",
        "ifeval",
        "not right",
        lambda: '{"a":' * 100_000 + "1" + "}" * 100_000,
        _BRACES,
    ),
    Case("an integer of 10⁵ digits in JSON", "ifeval", "judged", lambda: '{"a": ' + "9" * 100_000 + "}", _BRACES),
    Case("not a number in JSON", "ifeval", "judged", "{NaN}", _BRACES),
    Case("brackets, 10 MB", "ifeval", "wrong", lambda: "[" * MIB_10, _PLACES),
    Case("stars, 10 MB", "ifeval", "not right", lambda: "*" * MIB_10, _HIGHLIGHTS),
    Case("stars and spaces by turns, 10 MB", "ifeval", "not right", lambda: "* " * (MIB_10 // 2), _HIGHLIGHTS),
    Case("zero-width words", "ifeval", "wrong", lambda: ZERO_WIDTH * 100, _WORDS),
    Case("words, 10 MB", "ifeval", "judged", lambda: "word " * (MIB_10 // 5), _WORDS),
    Case("abbreviations without an end", "ifeval", "judged", lambda: "Dr. Mr. U.S. e.g. " * 5_000, _SENTENCES),
    Case("the end hidden by marks", "ifeval", "wrong", f"{TO_LEFT}.dne ehT{POP}", _END),
    Case("the end before 10 MB of space", "ifeval", "right", lambda: "The end." + " " * MIB_10, _END),
    Case("a language of emoji", "ifeval", "judged", lambda: "\U0001f600" * 10_000, _FRENCH),
    Case("no letters for a language", "ifeval", "judged", "1234567890", _FRENCH),
    Case("loose, 10⁵ lines", "ifeval", "judged", lambda: "*word*\n" * 100_000, _WORDS, {"mode": "loose"}),
    Case(
        "a bomb as keyword",
        "ifeval",
        "timeout",
        lambda: "a" * 5_000 + "!",
        _asked("keywords:existence", keywords=["(a+)+$"]),
    ),
    Case("a name that is nearly right", "ifeval", "refused", "x", _asked("keywords:existance", keywords=["x"])),
    Case("an argument missing", "ifeval", "refused", "x", _asked("keywords:existence")),
    Case("an argument too many", "ifeval", "refused", "x", _asked("punctuation:no_comma", limit=3)),
    Case("fewer arguments than instructions", "ifeval", "refused", "x", {**_WORDS, "kwargs": []}),
    Case("no instruction", "ifeval", "refused", "x", {"instruction_id_list": [], "kwargs": []}),
    Case("text that is no JSON as ground truth", "ifeval", "refused", "x", "no commas, please"),
    Case("JSON nested 10⁵ deep as ground truth", "ifeval", "refused", "x", "[" * 100_000),
    Case("a Tülu constraint of an unknown name", "ifeval", "refused", "x", '{"func_name": "validate_lowercased"}'),
    Case("palindromes, 10⁵ letters", "ifbench", "judged", lambda: "a" * 100_000, _asked("words:palindrome")),
    Case(
        "emoji joined, judged for emoji",
        "ifbench",
        "judged",
        lambda: "\U0001f468\u200d" * 50_000,
        _asked("format:emoji"),
    ),
    Case("brackets nested 10⁵ deep", "ifbench", "judged", lambda: "([{" * 30_000, _asked("format:parentheses")),
    Case("quotes nested 10⁵ deep", "ifbench", "judged", lambda: "\"'" * 50_000, _asked("format:quotes")),
    Case("digits of 10 MB", "ifbench", "wrong", lambda: "9" * MIB_10, _asked("count:numbers", N=3)),
    Case("a huge count", "ifbench", "wrong", "1 2 3", _asked("count:numbers", N=10**30)),
    Case("a negative count", "ifbench", "refused", "1 2 3", _asked("count:numbers", N=-1)),
    Case("a word for a count", "ifbench", "refused", "1 2 3", _asked("count:numbers", N="three")),
    Case("a name that is nearly right", "ifbench", "refused", "1 2 3", _asked("count:number", N=3)),
]

_BOMB = {"pattern": "(a+)+$", "equality": "search"}
_PATTERNS = [
    Case("a bomb", "regex", "timeout", lambda: "a" * 40 + "!", None, _BOMB),
    Case("a bomb of alternatives", "regex", "timeout", lambda: "a" * 40 + "!", None, {**_BOMB, "pattern": "(a|aa)+$"}),
    Case("a bomb of spaces", "regex", "timeout", lambda: " " * 40 + "!", None, {**_BOMB, "pattern": r"(\s|\s)*x"}),
    Case(
        "a bomb that references back",
        "regex",
        "timeout",
        lambda: "a" * 40 + "!",
        None,
        {**_BOMB, "pattern": r"((a*)*)*\1b"},
    ),
    Case("what the bomb matches", "regex", "right", lambda: "a" * 40, None, _BOMB),
]

_HARMLESS = {"test": "def check(candidate):\n    assert candidate(3) == 9\n", "entry_point": "square"}
_PROGRAMS = [
    Case("nothing", "code", "not right", "", _HARMLESS),
    Case("prose", "code", "not right", "I would square the number.", _HARMLESS),
    Case("a null byte", "code", "not right", f"def square(x): return x * x{NULL}", _HARMLESS),
    Case("a lone surrogate", "code", "not right", f"def square(x): return '{SURROGATE}'", _HARMLESS),
    Case("fences, 10 MB", "code", "not right", lambda: "```python\n" * (MIB_10 // 10), _HARMLESS),
    Case("parentheses nested 10⁵ deep", "code", "not right", lambda: "(" * 100_000, _HARMLESS),
    Case(
        "a power tower folded by the compiler",
        "code",
        "not right",
        "x = 9 ** 9 ** 9\ndef square(x): return x",
        _HARMLESS,
    ),
    Case("an unknown ground truth", "code", "refused", "def square(x): return x * x", {"tests": 7}),
    Case("no tests", "code", "refused", "def square(x): return x * x", {"test_list": []}),
]

CASES: list[Case] = [*_GSM8K, *_MATH, *_TEXT, *_INSTRUCTIONS, *_PATTERNS, *_PROGRAMS]
