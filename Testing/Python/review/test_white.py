"""White matter told from noisy, shaded maps; slow shading against its closed form."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from QSMReconLib.review.white import SLOW_MM, slow, white_matter

SIZES = (1.0, 1.2, 2.0)
SHAPE = (81, 70, 43)


@pytest.fixture(scope="module")
def folded():
    """(white matter, everything) of a brain with folds of cortex."""
    x, y, z = (
        (np.arange(n) - (n - 1) / 2)[tuple(slice(None) if a == i else None for a in range(3))] * v
        for i, (n, v) in enumerate(zip(SHAPE, SIZES, strict=True))
    )
    brain = x**2 + y**2 + z**2 < 38**2
    folds = gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), [4 / v for v in SIZES])
    return (folds < 0.4 * folds.std()) & brain, brain


def share(found, white):
    return (found & white).sum() / found.sum(), (found & white).sum() / white.sum()


@pytest.mark.parametrize("names", [("r2star",), ("chi",), ("chi_dia",), ("r2star", "chi", "chi_dia")])
def test_white_matter_is_told_whatever_lies_over_it(folded, names):
    white, brain = folded
    rng = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, SHAPE[0])[:, None, None] ** 2 * np.ones(SHAPE)
    maps = {
        "r2star": np.where(white, 20.0, 16.0) + rng.normal(0, 1.5, SHAPE),
        # Shading of 120 ppb over tissues that differ by 25.
        "chi": np.where(white, -12.0, 13.0) + 120 * ramp + rng.normal(0, 5, SHAPE),
        "chi_dia": np.where(white, 30.0, 12.0) + 60 * ramp + rng.normal(0, 5, SHAPE),
    }
    found, told = white_matter({name: maps[name] for name in names}, brain, brain, SIZES)
    assert set(told) == set(names)
    precision, recall = share(found, white)
    assert precision > 0.85
    # χ alone cannot tell the steepest shading from iron.
    assert recall > (0.7 if names == ("chi",) else 0.85)
    assert not (found & ~brain).any()


def test_iron_is_no_white_matter(folded):
    white, brain = folded
    chi, r2star = np.where(white, -12.0, 13.0), np.where(white, 20.0, 16.0)
    nucleus = np.zeros(SHAPE, dtype=bool)
    nucleus[36:44, 32:38, 18:22] = True
    chi[nucleus], r2star[nucleus] = 90.0, 32.0
    found, _ = white_matter({"chi": chi, "r2star": r2star}, brain, brain, SIZES)
    assert not (found & nucleus).any()


def test_without_maps_everything_free_is_white(folded):
    _, brain = folded
    found, told = white_matter({}, brain, brain, SIZES)
    assert told == ()
    assert np.array_equal(found, brain)


def test_slow_shading_is_what_a_wide_gaussian_leaves():
    everywhere = np.ones(SHAPE, dtype=bool)
    i = np.arange(SHAPE[0]) * SIZES[0]
    wave = np.cos(2 * np.pi * i / 80)[:, None, None] * np.ones(SHAPE)
    found = slow(5 + wave.astype(np.float32), everywhere, SIZES)
    damped = np.exp(-0.5 * (2 * np.pi * SLOW_MM / 80) ** 2)
    middle = (slice(30, 50), slice(20, 50), slice(10, 30))
    assert np.allclose(found[middle], (5 + damped * wave)[middle], atol=0.04)
