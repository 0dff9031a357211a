"""The 56 categories of DeepMind Mathematics, by which its data set's configurations on the hub are named."""

from __future__ import annotations

_MODULES = {
    "algebra": "linear_1d linear_1d_composed linear_2d linear_2d_composed polynomial_roots polynomial_roots_composed "
    "sequence_next_term sequence_nth_term",
    "arithmetic": "add_or_sub add_or_sub_in_base add_sub_multiple div mixed mul mul_div_multiple nearest_integer_root "
    "simplify_surd",
    "calculus": "differentiate differentiate_composed",
    "comparison": "closest closest_composed kth_biggest kth_biggest_composed pair pair_composed sort sort_composed",
    "measurement": "conversion time",
    "numbers": "base_conversion div_remainder div_remainder_composed gcd gcd_composed is_factor is_factor_composed "
    "is_prime is_prime_composed lcm lcm_composed list_prime_factors list_prime_factors_composed place_value "
    "place_value_composed round_number round_number_composed",
    "polynomials": "add coefficient_named collect compose evaluate evaluate_composed expand simplify_power",
    "probability": "swr_p_level_set swr_p_sequence",
}
CATEGORIES = tuple(f"{area}__{module}" for area, modules in _MODULES.items() for module in modules.split())
"""In OLMES's order."""
