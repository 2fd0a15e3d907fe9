"""The gyromagnetic ratio, and the only conversions that need it."""

from __future__ import annotations

from math import pi

GAMMA_HZ_PER_T = 42.576e6
"""Of the proton, γ/2π, as QSM-CI takes it."""


def ppm_per_hz(field_strength_t: float) -> float:
    """How many ppm of B0 one Hz of frequency offset is."""
    return 1e6 / (GAMMA_HZ_PER_T * field_strength_t)


def radians_per_ppm(field_strength_t: float, time_s: float) -> float:
    """The phase that one ppm of field gathers in `time_s`."""
    return 2 * pi * time_s / ppm_per_hz(field_strength_t)
