"""IFEval's instructions (Zhou et al. 2023) and the constraints of Tulu 3 (Lambert et al. 2024)."""
