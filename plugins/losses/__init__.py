"""Losses: supervised, preference, reward model, policy."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.losses"
SETTINGS = f"{HERE}.settings"
POLICY = f"{HERE}.policy_settings"

ROWS = (
    ("sft", "sft:SFT", f"{SETTINGS}:SFTSettings", "cross-entropy of the replies, with a regularizer (F11)"),
    ("dpo", "dpo:DPO", f"{SETTINGS}:DPOSettings", "direct preference optimisation, conservative DPO (F15, F16)"),
    ("ipo", "ipo:IPO", f"{SETTINGS}:IPOSettings", "identity preference optimisation: a finite best margin"),
    ("hinge", "hinge:Hinge", f"{SETTINGS}:HingeSettings", "hinge loss on DPO's rewards (SLiC, RSO)"),
    ("robust", "robust:Robust", f"{SETTINGS}:RobustSettings", "DPO that is unbiased under flipped labels"),
    ("wpo", "wpo:WPO", f"{SETTINGS}:WPOSettings", "DPO weighted by how on-policy a pair is"),
    ("simpo", "simpo:SimPO", f"{SETTINGS}:SimPOSettings", "preferences without a reference model (F17)"),
    ("orpo", "orpo:ORPO", f"{SETTINGS}:ORPOSettings", "likelihood and odds ratio in one, without a reference model"),
    ("kto", "kto:KTO", f"{SETTINGS}:KTOSettings", "single replies marked good or bad, without pairs"),
    (
        "reward_model",
        "reward_model:RewardModel",
        f"{SETTINGS}:RewardModelSettings",
        "Bradley-Terry reward model of preference pairs, with margin and centring",
    ),
    (
        "confidence_penalty",
        "confidence_penalty:ConfidencePenalty",
        f"{SETTINGS}:ConfidencePenaltySettings",
        "a regularizer: negative entropy of the predictions",
    ),
    (
        "reference_kl",
        "reference_kl:ReferenceKL",
        f"{SETTINGS}:ReferenceKLSettings",
        "a regularizer: distance from the model that training started from",
    ),
    ("ppo", "ppo:PPO", f"{POLICY}:PPOSettings", "clipped policy and value losses (F37)"),
    ("actor_critic", "actor_critic:ActorCritic", f"{POLICY}:ActorCriticSettings", "policy gradient and critic (F37)"),
    ("grpo", "grpo:GRPO", f"{POLICY}:GRPOSettings", "clipped policy loss without a critic"),
    ("dr_grpo", "dr_grpo:DrGRPO", f"{POLICY}:DrGRPOSettings", "GRPO whose replies are divided by a constant"),
    ("dapo", "dapo:DAPO", f"{POLICY}:DAPOSettings", "clip-higher, averaged over all tokens of the step"),
    ("gspo", "gspo:GSPO", f"{POLICY}:GSPOSettings", "ratio and clip of whole replies"),
    ("cispo", "cispo:CISPO", f"{POLICY}:CISPOSettings", "policy gradient with clipped importance weights"),
    ("reinforce", "reinforce:Reinforce", f"{POLICY}:ReinforceSettings", "plain policy gradient"),
)


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    for name, component, settings, summary in ROWS:
        registry.add("loss", name, f"{HERE}.{component}", settings, summary)
