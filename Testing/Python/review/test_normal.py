"""How much normal tissue differs from itself."""

import numpy as np
from scipy.ndimage import gaussian_filter

from QSMReconLib.data import Grid
from QSMReconLib.review.maps import ReviewMaps, channel
from QSMReconLib.review.normal import wander
from QSMReconLib.review.surroundings import Surroundings

GRID = Grid.centred((60, 60, 40), (1.0, 1.0, 1.0))


def spread(values, shape=GRID.shape):
    everywhere, nothing = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    maps = ReviewMaps(GRID, everywhere, {"chi": channel("chi", 1e-3 * values)})
    return wander(maps, Surroundings(everywhere, nothing, nothing), nothing, (2.0, 6.0))["chi"]


def test_white_noise_averages_out_and_wide_noise_does_not():
    rng = np.random.default_rng(0)
    white = rng.normal(0, 10, GRID.shape)
    wide = gaussian_filter(white, 3.0)
    wide *= 10 / wide.std()
    small, large = spread(white)(1.5), spread(white)(6.0)
    # The median of 19 voxels errs by 1.25·10/√19.
    assert 0.6 < small / (1.25 * 10 / np.sqrt(19)) < 1.5
    assert large < 0.4 * small
    assert spread(wide)(4.0) > 3 * spread(white)(4.0)
    assert spread(white)(3.0) < small


def test_nothing_is_said_where_there_is_no_normal_tissue():
    nothing = np.zeros(GRID.shape, dtype=bool)
    maps = ReviewMaps(GRID, ~nothing, {"chi": channel("chi", np.zeros(GRID.shape))})
    assert wander(maps, Surroundings(nothing, nothing, nothing), nothing, (2.0, 6.0))["chi"](3.0) == 0
