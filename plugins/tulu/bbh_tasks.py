"""The 27 tasks of BIG-Bench Hard (Suzgun et al. 2022, MIT): what each is said to be about, and how its answers look."""

from __future__ import annotations

from typing import Final

_LETTER: Final = r"\([A-Z]\)"
_YES: Final = r"[yY]es|[nN]o"
_DEDUCTION: Final = "A logical deduction task which requires deducing the order of a sequence of objects."
_SHUFFLED: Final = (
    "A task requiring determining the final positions of a set of objects given their initial positions and a "
    "description of a sequence of swaps."
)
_SNARKS: Final = (
    "Determine which of two sentences is sarcastic.\n\n"
    + 'According to Cambridge University Dictionary, sarcasm is "the use '
    + "of remarks that clearly mean the opposite of what they say, made in order to hurt someone's feelings or to "
    + 'criticize something in a humorous way." Sarcastic sentences often contain satirical or ironic utterances, '
    + "hyperboles, ambivalent or witty remarks."
)
TASKS: Final = {
    "boolean_expressions": ("Evaluate the result of a random Boolean expression.", "[tT]rue|[fF]alse"),
    "causal_judgement": ("Answer questions about causal attribution.", _YES),
    "date_understanding": ("Infer the date from context.", _LETTER),
    "disambiguation_qa": ("Clarify the meaning of sentences with ambiguous pronouns.", _LETTER),
    "dyck_languages": ("Correctly close a Dyck-n word.", r"[\]\)\}\> ]+"),
    "formal_fallacies": (
        "Distinguish deductively valid arguments from formal fallacies.",
        "[iI]nvalid|[vV]alid",
    ),
    "geometric_shapes": ("Name geometric shapes from their SVG paths.", _LETTER),
    "hyperbaton": ("Order adjectives correctly in English sentences.", _LETTER),
    "logical_deduction_five_objects": (_DEDUCTION, _LETTER),
    "logical_deduction_seven_objects": (_DEDUCTION, _LETTER),
    "logical_deduction_three_objects": (_DEDUCTION, _LETTER),
    "movie_recommendation": ("Recommend movies similar to the given list of movies.", _LETTER),
    "multistep_arithmetic_two": ("Solve multi-step arithmetic problems.", r"-?\d+"),
    "navigate": (
        "Given a series of navigation instructions, determine whether one would end up back at the starting point.",
        _YES,
    ),
    "object_counting": (
        "Questions that involve enumerating objects and asking the model to count them.",
        r"\d+",
    ),
    "penguins_in_a_table": ("Answer questions about a table of penguins and their attributes.", _LETTER),
    "reasoning_about_colored_objects": (
        "Answer extremely simple questions about the colors of objects on a surface.",
        _LETTER,
    ),
    "ruin_names": ("Select the humorous edit that 'ruins' the input movie or musical artist name.", _LETTER),
    "salient_translation_error_detection": (
        "Detect the type of error in an English translation of a German source sentence.",
        _LETTER,
    ),
    "snarks": (_SNARKS, _LETTER),
    "sports_understanding": (
        "Determine whether an artificially constructed sentence relating to sports is plausible or not.",
        _YES,
    ),
    "temporal_sequences": (
        "Task description: Answer questions about which times certain events could have occurred.",
        _LETTER,
    ),
    "tracking_shuffled_objects_five_objects": (_SHUFFLED, _LETTER),
    "tracking_shuffled_objects_seven_objects": (_SHUFFLED, _LETTER),
    "tracking_shuffled_objects_three_objects": (_SHUFFLED, _LETTER),
    "web_of_lies": ("Evaluate a random boolean function expressed as a word problem.", _YES),
    "word_sorting": ("Sort a list of words.", "[a-z ]+"),
}
"""By the hub's configuration: the first line of its prompt, and the regular expression of an answer."""
LETTERED: Final = frozenset(name for name, (_, answer) in TASKS.items() if answer == _LETTER)
"""Those whose answer is one of listed choices."""
