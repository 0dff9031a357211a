"""`custom:` kinds: whole tasks with one right form, each made for one prompt of IFBench."""

from __future__ import annotations

import csv
import io
import re
import string
from itertools import pairwise
from operator import methodcaller

from aftertrain.plugins.instructions.ifbench.characters import EDGES, ascii_letters, without_punctuation
from aftertrain.plugins.instructions.ifbench.count import DIGITS
from aftertrain.plugins.instructions.ifbench.names import CAPITALS
from aftertrain.plugins.instructions.kind import of_text
from aftertrain.plugins.instructions.resources import sentences

QUESTION = re.compile(r"Question \d+[\.|\):;]?\s*")
OPTION = re.compile(r"[A-Ea-e][\.|\)]\s*\w")
QUESTIONS, OPTIONS = 4, 5
AFRICAN_LINES = 52
MULTIPLES = ["14", "21", "28", "35", "42", "49"]
CITY_HEADER = ["ID", "Country", "City", "Year", "Count"]
PRODUCT_HEADER = re.compile(
    r'(ProductID|"ProductID"),[ \t]*(Category|"Category"),[ \t]*(Brand|"Brand"),[ \t]*(Price|"Price"),'
    r'[ \t]*(Stock|"Stock")'
)
STUDENT_HEADER = re.compile(
    r'(StudentID|"StudentID")\t *(Subject|"Subject")\t *(Grade|"Grade")\t *(Semester|"Semester")\t *(Score|"Score")'
)
SPECIAL = re.compile(r"[^\d\w\s]")
DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
DAYS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def character_reverse(text: str) -> bool:
    """`bald eagle` letter by letter backwards, anywhere."""
    return "elgae dlab" in text.lower()


def word_reverse(text: str) -> bool:
    """Word by word backwards it holds `bald eagle`, and is one sentence."""
    forward = " ".join(reversed(without_punctuation(text.lower()).split()))
    return "bald eagle" in forward and forward in sentences(forward)


def csv_city(text: str) -> bool:
    """Eight rows of comma-separated values: the header and seven of five fields."""
    rows = _rows(text, ",", 8)
    return rows is not None and rows[0] == CITY_HEADER and all(len(row) == 5 for row in rows[1:])


def csv_special_character(text: str) -> bool:
    """Fifteen rows with the header, five fields each up to the first that quotes a field with a special character."""
    if not PRODUCT_HEADER.fullmatch(text.split("\n", 1)[0].strip()):
        return False
    for row in (_rows(text.replace('"', '"""'), ",", 15) or [])[1:]:
        if len(row) != 5:
            return False
        if any(map(_quotes_special, row)):
            return True
    return False


def csv_quotes(text: str) -> bool:
    """Four rows of five tab-separated fields, the header first, every field in double quotes."""
    if not STUDENT_HEADER.fullmatch(text.split("\n", 1)[0].strip()):
        return False
    rows = _rows(text.replace('"', '"""'), "\t", 4)
    return rows is not None and all(
        len(row) == 5 and all(field[:1] == field[-1:] == '"' for field in map(str.strip, row)) for row in rows
    )


def date_format_list(text: str) -> bool:
    """Dates YYYY-MM-DD from 1769 to 1821, separated by commas; any month up to 12 and day up to the month's last."""
    return all(_date(date.strip()) for date in text.split(","))


def european_capitals_sort(text: str) -> bool:
    """The capitals north of 45 degrees from north to south, separated by commas; accents are free."""
    return [name.strip() for name in ascii_letters(text).split(",") if name.strip()] == list(CAPITALS)


def mcq_count_length(text: str) -> bool:
    """Begins with `Question`; four questions, each longer than the one before, with five options each."""
    if not text.startswith("Question"):
        return False
    questions = [part.strip() for part in QUESTION.split(text) if part.strip()]
    if len(questions) != QUESTIONS:
        return False
    lengths = []
    for question in questions:
        lines = [line.strip() for line in question.split("\n")]
        marks = [OPTION.match(line) is not None for line in lines]
        if sum(marks) != OPTIONS:
            return False
        lengths.append(len(" ".join(lines[: marks.index(True)]).strip()))
    return all(shorter < longer for shorter, longer in pairwise(lengths))


def multiples(text: str) -> bool:
    """Its numbers are the multiples of 7 from 14 to 49, in this order."""
    return DIGITS.findall(text) == MULTIPLES


def reverse_newline(text: str) -> bool:
    """From the line with `Zimbabwe` on, at least 52 lines, each not after the one before it in the alphabet."""
    lines = list(filter(None, map(methodcaller("strip", EDGES), text.split("\n"))))
    start = next((place for place, line in enumerate(lines) if "Zimbabwe" in line), len(lines))
    folded = list(map(ascii_letters, lines[start:]))
    return len(folded) >= AFRICAN_LINES and folded == sorted(folded, reverse=True)


def sentence_alphabet(text: str) -> bool:
    """Twenty-six sentences that begin with the letters of the alphabet in order."""
    return [sentence.lstrip().lower()[:1] for sentence in sentences(text)] == list(string.ascii_lowercase)


def _rows(text: str, delimiter: str, count: int) -> list[list[str]] | None:
    """The rows where there are exactly so many, else None, also for what the csv module refuses to read."""
    rows = []
    try:
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            rows.append(row)
            if len(rows) > count:
                return None
    except csv.Error:
        return None
    return rows if len(rows) == count else None


def _quotes_special(field: str) -> bool:
    """Whether the field's first line begins with a `"` and has a character between it and the last `"` that is no
    letter, digit, underscore or white space."""
    line = field.split("\n", 1)[0]
    return line.startswith('"') and SPECIAL.search(line, 1, max(line.rfind('"'), 1)) is not None


def _date(text: str) -> bool:
    match = DATE.fullmatch(text)
    if not match:
        return False
    year, month, day = map(int, match.groups())
    return 1769 <= year <= 1821 and month <= 12 and (month == 0 or day <= DAYS.get(month, 31))


KINDS = {
    "custom:character_reverse": of_text(character_reverse),
    "custom:csv_city": of_text(csv_city),
    "custom:csv_quotes": of_text(csv_quotes),
    "custom:csv_special_character": of_text(csv_special_character),
    "custom:date_format_list": of_text(date_format_list),
    "custom:european_capitals_sort": of_text(european_capitals_sort),
    "custom:mcq_count_length": of_text(mcq_count_length),
    "custom:multiples": of_text(multiples),
    "custom:reverse_newline": of_text(reverse_newline),
    "custom:sentence_alphabet": of_text(sentence_alphabet, needs=("punkt",)),
    "custom:word_reverse": of_text(word_reverse, needs=("punkt",)),
}
