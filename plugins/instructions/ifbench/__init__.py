"""IFBench (Pyatkin et al. 2025): its 58 kinds of instructions, and 4 more of Tulu 3's IFEval-OOD.

The kinds stand in one module a family; each module has a table `KINDS`, id to `Kind`.
"""
