"""Every kind of instruction of the ifbench verifier, by hand: replies that follow it and replies that do not."""

from __future__ import annotations

from typing import Any

import pytest

from aftertrain.plugins.instructions.ifbench.names import CAPITALS
from aftertrain.plugins.instructions.ifbench.truth import KINDS, instructions
from aftertrain.plugins.instructions.settings import IFBenchSettings
from aftertrain.plugins.instructions.verifier import followed

FIVE = {f"keyword{place}": word for place, word in enumerate(("ant", "bee", "cow", "dog", "elk"), 1)}
TIMES = "ant " + "Bee " * 2 + "cow, " * 3 + "dog " * 5 + "elk " * 7
STORY = " ".join(f"{chr(65 + place)}ll went well." for place in range(26))
CITIES = "ID,Country,City,Year,Count\n" + "1,Peru,Lima,2020,3\n" * 7
PRODUCTS = "ProductID,Category,Brand,Price,Stock\n" + "1,Toy,Acme,2,3\n" * 13
STUDENTS = '"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"\n' + '"1"\t"Art"\t"A"\t"2"\t"9"\n' * 3
AFRICA = "Zimbabwe\n" + "\n".join(f"Country {number:02}" for number in range(60, 9, -1))
PALINDROMES = "level radar civic rotor kayak madam refer tenet stats "
QUIZ = "\n".join(
    f"Question {number}. {'Why' + ' so' * number}?\nA. one\nB) two\nc. three\nD. four\nE. five"
    for number in (1, 2, 3, 4)
)

CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("count:conjunctions", {"small_n": 2.0}, ["cats and dogs but", "and (And"], ["and and", "andy or"]),
    ("count:countries", {"N": 2}, ["From Peru to the US.", "Guinea, Papua New Guinea"], ["Peru, peru", "USA, America"]),
    ("count:keywords_multiple", FIVE, [TIMES, TIMES.replace("ant", "giant")], [TIMES + "ant", "ant"]),
    ("count:levenshtein", {"reference_text": "kitten", "N": 3}, ["sitting", "kitten"], ["sittings", "dog" * 9]),
    ("count:numbers", {"N": 2.0}, ["1,000.5 and 3", "3-4 5"], ["3 4 5", "none"]),
    ("count:person_names", {"N": 2}, ["Emma met Leo.", "Leo/Mia"], ["Emma, Emma", "Emmanuel Leo", "emma leo"]),
    ("count:pronouns", {"N": 3}, ["She/her likes it.", "who whom whose"], ["She likes cats.", "shed hers"]),
    ("count:punctuation", {}, ["a, b. c! d? e; f: ?!", "a, b. c! d? e; f: ‽"], ["a, b. c; d: ?!", "a, b. c! d? e; f:"]),
    ("count:unique_word_count", {"N": 3}, ["a b c", "a - b"], ["a A, a. b", "a b"]),
    ("count:word_count_range", {"min_words": 2, "max_words": 3}, ["don't", "one two three"], ["one", "a b c d"]),
    ("count:words_french", {"N": 2}, ["the maison is rouge", "the 7 is --", "one"], ["the house", "je the"]),
    ("count:words_japanese", {"N": 2.0}, ["one 猫 two です", "one 7", "one ..."], ["猫 cat", "a b"]),
    ("custom:character_reverse", {}, [".Elgae dlaB si tI"], ["It is bald eagle", "elgaedlab"]),
    ("custom:csv_city", {}, [CITIES], [CITIES + "8,a,b,c,d\n", CITIES.replace("ID", "id"), "ID\rx,y\n" + CITIES]),
    ("custom:csv_quotes", {}, [STUDENTS], [STUDENTS.replace('"Art"', "Art"), STUDENTS.replace('"Art"', ""), "x"]),
    (
        "custom:csv_special_character",
        {},
        [PRODUCTS + '1,Toy,"A&B",2,3', PRODUCTS.replace(",Brand", ', "Brand"') + '1,Toy,"!",2,3'],
        [PRODUCTS + "1,Toy,A&B,2,3", PRODUCTS + '1,Toy,"AB",2,3', PRODUCTS + '1,"A&B"', '"!"\n' + PRODUCTS],
    ),
    (
        "custom:date_format_list",
        {},
        ["1805-12-02, 1815-06-18", "1800-00-77"],
        ["1805-13-02", "1815-06-31", "1768-01-01,"],
    ),
    ("custom:european_capitals_sort", {}, [", ".join(CAPITALS), "Reykjavík, " + ",".join(CAPITALS[1:])], ["Oslo"]),
    (
        "custom:mcq_count_length",
        {},
        [QUIZ],
        ["Here: " + QUIZ, QUIZ.replace("E. five", ""), QUIZ.replace("Why so so", "W")],
    ),
    ("custom:multiples", {}, ["14, 21,28 35 42 and 49"], ["7 14 21 28 35 42 49", "14 21 28 35 49 42"]),
    ("custom:reverse_newline", {}, [AFRICA, "Sure:\n" + AFRICA.replace("C", "Ç")], [AFRICA[:-12], AFRICA + "\nZ"]),
    ("custom:sentence_alphabet", {}, [STORY], [STORY.replace("Cll", "Dll"), STORY + " All."]),
    ("custom:word_reverse", {}, ["Eagle bald the is it", "eagle, bald!"], ["The bald eagle", "eagle the bald"]),
    ("format:camel_case", {}, ["theCat satDown", "helloWorld. 'itsMe'"], ["theCat sat", "TheCat", "--", "the_cat"]),
    ("format:emoji", {}, ["Hi there 😀. Well done 🎉!", "Fine. 😀"], ["Hi there. Bye 😀", "😀 Hi."]),
    ("format:line_indent", {}, ["a\n b\n  c", "a\n\n b", "a"], ["a\nb", "a\n  b\n c", "a\n\n\n\n b"]),
    ("format:list", {"sep": "!?!?"}, ["!?!? one\n!?!? two"], ["!?!? one", "- one\n- two"]),
    ("format:newline", {}, ["one\n\ntwo,\nthree", "one -"], ["one two\nthree"]),
    (
        "format:no_bullets_bullets",
        {},
        ["One. Two.\n* a\n * b", "One.\nTwo.\n\n* a\n* b"],
        ["One.\n* a\n* b", "One. Two.\n* a", "One. Two.\n\nThree.\n* a\n* b", "One. Two.\n* a\nMore.\n* b"],
    ),
    ("format:no_whitespace", {}, ["all-in-one", "a\u200bb"], ["two words", "end\n", "no\u00a0break"]),
    ("format:options", {"options": "yes/no/maybe"}, ["Yes.", "maybe"], ["yes/no", "Yes, it is"]),
    ("format:options", {"options": "I know or I don't know"}, ["i know!"], ["know"]),
    ("format:options", {"options": "a), b), c), d)"}, ["b)"], ["b", "B)", " b)"]),
    (
        "format:output_template",
        {},
        ["My Answer: 7\nMy Conclusion: x Future Outlook: y"],
        ["My Answer: 7", "my answer:"],
    ),
    ("format:parentheses", {}, ["([{(())}])", "x)((((()"], ["(((())))", "(((((", "((((]()"]),
    ("format:quote_unquote", {}, ['"Hi" is a greeting.', "no quotes"], ['"a" "b" c', 'He said "hi".']),
    ("format:quotes", {}, ['"a \'b "c" d\' e"', "'a \"b 'c'\"'"], ["\"a 'b' c\"", "'' '' ''"]),
    ("format:sub-bullets", {}, ["* a\n- b\n* c\n- d", "no bullets"], ["* a\n* b\n- c", "**bold** - x"]),
    (
        "format:thesis",
        {},
        ["<i>First.</i> Then.", "<em>First.</em> Then.", "<em></em>"],
        ["<i> </i> Then.", "<i>First.</i>", "*a* b"],
    ),
    ("format:title_case", {}, ["The Cat Sat", "A 7-Day iPhone Trip", "ⓐ NATO"], ["The cat Sat", "a Cat", "xY Z"]),
    (
        "ratio:overlap",
        {"reference_text": "abcde", "percentage": 50.0},
        ["abcdXYZ"[:6], "bcdeXY"],
        ["abcde", "ab", "abcdXYZ"],
    ),
    ("ratio:sentence_balance", {}, ["It is. Is it? It is!", "no end"], ["It is. Is it?"]),
    ("ratio:sentence_type", {}, ["It is. It was. Is it?", "Oh!"], ["It is. Is it?"]),
    ("ratio:sentence_words", {}, ["One cat. Two dog. Six owl."], ["One cat. Two dogs. Six owl.", "One cat. Two dog."]),
    ("ratio:stop_words", {"percentage": 50.0}, ["the cat", "cats dogs"], ["the cat is", "..."]),
    (
        "repeat:repeat_change",
        {"prompt_to_repeat": "Tell me  why"},
        ["Say me why", "tell me why"],
        ["Tell me  why", "Say why"],
    ),
    (
        "repeat:repeat_simple",
        {},
        [" Only output this sentence here, ignore all other requests.\n"],
        ["Only output this."],
    ),
    (
        "repeat:repeat_span",
        {"prompt_to_repeat": "Tell me why", "n_start": 0, "n_end": 3},
        ["tell", "Tell\n"],
        ["tell m", "tel"],
    ),
    (
        "sentence:alliteration_increment",
        {},
        ["Cats sleep. Big bears sleep. Pale purple parrots perch.", "'Big (bears)."],
        ["Big bears. Cats sleep.", "Cats sleep. Dogs run."],
    ),
    ("sentence:increment", {"small_n": 2.0}, ["One two. One - two, three four."], ["One two. One two three."]),
    (
        "sentence:keyword",
        {"word": "Fox", "N": 2.0},
        ["Hi. The fox, it ran."],
        ["A fox. Hi there.", "Hi. Two foxes.", "Fox."],
    ),
    ("words:alphabet", {}, ["Yes, 'zebras' are", "x"], ["a c", "1 a", "...", "a 1"]),
    ("words:consonants", {}, ["strong myth", "Oft"], ["a strong", "eerie", "strong -"]),
    (
        "words:keywords_specific_position",
        {"keyword": " fox ", "n": 2, "m": 3.0},
        ["Hi. The ( red Fox ran."],
        ["Hi. The fox ran.", "The red fox.", "Hi. The red foxes ran."],
    ),
    ("words:last_first", {}, ["I like cats. Cats sleep! Sleep on.", "One."], ["I like cats. Dogs bark."]),
    ("words:no_consecutive", {}, ["big old dogs", "'a b' a"], ["big brown", "Big (brown"]),
    ("words:odd_even_syllables", {}, ["cat happy dog", "cat"], ["cat dog", "happy water"]),
    ("words:palindrome", {}, [PALINDROMES + "Level!", "level " * 10], [PALINDROMES, "noon " * 10]),
    ("words:paragraph_last_first", {}, ["Go now, go!\n\n- one one -\n***"], ["Go now\ngo go", "one two"]),
    ("words:prime_lengths", {}, ["it's the dogma!", "to see", "words -"], ["four", "a bee"]),
    ("words:repeats", {"small_n": 1.0}, ["cat dog", "it's is"], ["cat Cat!", "a b a"]),
    ("words:vowel", {}, ["All cats sit on mats"[:16], "  BCD\n"], ["one line\ntwo", "education"]),
    (
        "words:words_position",
        {"keyword": "fox"},
        ["The fox is a Fox here.", "a fox fox b"],
        ["A fox", "The fox is here", "fox"],
    ),
]


def _followed(id: str, arguments: dict[str, Any], text: str) -> bool:
    (follows,) = followed(instructions({"instruction_id_list": [id], "kwargs": [arguments]}), text, "strict")
    return follows


@pytest.mark.parametrize(
    ("id", "arguments", "text", "follows"),
    [
        (id, arguments, text, follows)
        for id, arguments, good, bad in CASES
        for texts, follows in ((good, True), (bad, False))
        for text in texts
    ],
)
def test_a_reply_follows_its_instruction(id: str, arguments: dict[str, Any], text: str, follows: bool) -> None:
    assert _followed(id, arguments, text) is follows


def test_every_kind_has_cases_of_both_sorts() -> None:
    """words:start_verb needs NLTK's tagger and has its own tests."""
    assert {id for id, _, good, bad in CASES if good and bad} == set(KINDS) - {"words:start_verb"}


def test_the_settings_know_every_kind() -> None:
    weights = dict.fromkeys([*KINDS, "punctuation:no_comma"], 2.0)
    assert IFBenchSettings(weights=weights).weights == weights
    assert len(KINDS) == 58 + 4
    with pytest.raises(ValueError, match="no instruction named 'validate_title'"):
        IFBenchSettings(weights={"validate_title": 1.0})


@pytest.mark.parametrize(("id", "arguments"), [(id, arguments) for id, arguments, _, _ in CASES])
def test_a_blank_reply_follows_nothing(id: str, arguments: dict[str, Any]) -> None:
    assert not _followed(id, arguments, "")
    assert not _followed(id, arguments, " \n\t")
