"""Examples of the settings, for `aftertrain check-plugin`: facts are those that the kit's rows have."""

from __future__ import annotations

MODEL = "package:aftertrain.plugins.quickstart/model"
PLACE = "kit.place"
EXAMPLES = {
    ("operator", "language"): {"languages": ["en", "de", "ja"]},
    ("operator", "special_tokens"): {"model": MODEL},
    ("operator", "quality"): {"parts": [{"fact": PLACE, "best": 10}]},
    ("operator", "threshold"): {"fact": PLACE, "at_least": {"quantile": 0.2}, "at_most": 9},
    ("operator", "deduplicate"): {"keep": {"highest": PLACE}},
    ("operator", "diversity"): {"quality": PLACE},
    ("operator", "perplexity"): {"model": MODEL},
    ("operator", "reward_model"): {"model": MODEL},
    ("operator", "verdict"): {"verifier": {"use": "string"}, "truth": "It is Paris."},
    ("operator", "rlvr_quality"): {"verifiers": {"exact": "string", "x": "string", "y": "math"}, "steps": PLACE},
}
