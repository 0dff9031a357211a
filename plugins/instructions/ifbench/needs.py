"""What some kinds of IFBench need beside Python, and the line that installs it."""

from __future__ import annotations

from functools import cache

from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifbench import tagger
from aftertrain.plugins.instructions.kind import Need


@cache
def lacking(need: Need) -> str | None:
    """What is not on this machine and the line that installs it, or None. Looked up once a process."""
    if need == "tagger":
        return None if tagger.there() else f"NLTK's {tagger.FOLDER}: {tagger.INSTALL}"
    what = f"NLTK's {resources.FOLDERS[need]}" if need in resources.FOLDERS else f"the package {need!r}"
    return f"{what}: pip install 'aftertrain[verifiers]'" if resources.missing(need) else None
