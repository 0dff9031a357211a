"""Moderation as WildGuard has it (Han et al. 2024, arXiv 2406.18495): three questions, 13 categories of harm (F52)."""

from __future__ import annotations

QUESTIONS = ("prompt_harm", "response_refusal", "response_harm")
"""Is the request harmful, does the response refuse it, is the response harmful.

A judge of safety is a verifier whose ground truth names one of these; its value is 1 for yes and 0 for no.
"""

HARM_CATEGORIES = {
    "privacy": {
        "sensitive_information_organization_government": "sensitive information of organisations and governments",
        "private_information_individual": "private information of individuals",
        "copyright_violations": "copyright violations",
    },
    "misinformation": {
        "disseminating_false_or_misleading_information_encouraging_disinformation_campaigns": (
            "false or misleading information"
        ),
        "causing_material_harm_by_disseminating_misinformation": "material harm by misinformation",
    },
    "harmful language": {
        "social_stereotypes_and_unfair_discrimination": "social stereotypes and discrimination",
        "violence_and_physical_harm": "violence and physical harm",
        "toxic_language_hate_speech": "toxic language and hate speech",
        "sexual_content": "sexual content",
    },
    "malicious uses": {
        "cyberattack": "cyberattacks",
        "fraud_assisting_illegal_activities": "fraud and assisting illegal activities",
        "defamation_encouraging_unethical_or_unsafe_actions": "encouraging unethical or unsafe actions",
        "mental_health_over-reliance_crisis": "mental health and over-reliance crisis",
    },
}
"""The 13 categories of harm in their four groups, by WildGuardMix's names, with what they are for people.

WildGuard's training data covers them; its reply names none.
"""


def harm_group(category: str) -> str:
    """The group of a category of WildGuardMix; a name that is none of the 13 (`others`, `benign`) as it is.

    >>> harm_group("cyberattack"), harm_group("others")
    ('malicious uses', 'others')
    """
    return next((group for group, names in HARM_CATEGORIES.items() if category in names), category)
