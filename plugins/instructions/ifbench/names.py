"""Word lists of IFBench's checks.

PERSON_NAMES, PRONOUNS, CONJUNCTIONS and CAPITALS are those of IFBench (Copyright 2025 Allen Institute for AI, Apache
License 2.0, https://github.com/allenai/IFBench, commit db69a6f, ifbench/instructions.py).
"""

from __future__ import annotations


def _listed(names: str) -> tuple[str, ...]:
    return tuple(names.split())


CONJUNCTIONS = frozenset(_listed("and but for nor or so yet"))

PRONOUNS = frozenset(
    _listed(
        "i me we us you he him she her it they them "
        "my mine our ours your yours his hers its their theirs "
        "myself ourselves yourself yourselves himself herself itself themselves "
        "this that these those who whom whose which what whoever whomever whatever whichever "
        "anybody anyone anything everybody everyone everything nobody nothing somebody someone something "
        "each either neither both all some any none"
    )
)

PERSON_NAMES = frozenset(
    _listed(
        "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia "
        "Benjamin Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob "
        "Scarlett Nathan Victoria Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora "
        "Andrew Aria Joseph Claire Ryan Stella Jonathan"
    )
)

CAPITALS = _listed(
    "Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw "
    "London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb"
)
"""European capitals north of 45 degrees, from north to south as IFBench orders them (it leaves Kyiv out)."""
