"""Contrasts without spin echoes: what R2 takes from R2* is not taken for myelin."""

import numpy as np
import pytest

from QSMReconLib.review.classification import Contrast
from QSMReconLib.review.decay import PRIOR_HZ, PRIOR_SD_HZ, common_r2, from_decay

KINDS = ((25, -17), (0, -17), (-11, -17), (0, 0), (25, 0), (12, -15))


def lesions(r2_hz, number, seed=0, tesla=3.0):
    """(contrasts of lesions as a rule that guesses R2′ leaves them, the truth)."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for i in range(number):
        para, dia = KINDS[i % len(KINDS)] + rng.normal(0, 1.5, 2)
        decay = r2_hz + rng.normal(0, 0.3) + 0.137 * tesla / 3 * (para + dia)
        # The maps halve the sum and lose what R2 lost besides; their difference is right.
        wrong = 0.5 * (para + dia) - 8
        found.append(
            {
                "chi": Contrast(para - dia, 2.0, 4.0),
                "chi_para": Contrast((wrong + para - dia) / 2, 1.0, 3.0),
                "chi_dia": Contrast((wrong - para + dia) / 2, 1.0, 3.0),
                "r2star": Contrast(decay, 0.2, 1.0),
            }
        )
        truth.append((para, dia))
    return found, np.array(truth)


@pytest.mark.parametrize("r2_hz", [-5.0, -3.5, -2.0])
def test_many_lesions_tell_what_they_lost(r2_hz):
    found, truth = lesions(r2_hz, 36)
    common = common_r2(found, 3.0)
    assert common.lesions == 36
    assert common.r2_hz == pytest.approx(r2_hz, abs=0.5)
    assert common.sd_hz < 0.5
    corrected = np.array([[c.value for c in from_decay(one, common, 3.0)] for one in found])
    assert np.abs(corrected - truth).mean() < 2.5
    errors = [from_decay(one, common, 3.0)[0].error for one in found]
    assert 0.3 < (corrected - truth)[:, 0].std() / np.mean(errors) < 1.2


def test_one_lesion_leaves_the_prior():
    found, _ = lesions(-3.5, 1)
    assert common_r2([], 3.0).r2_hz == pytest.approx(PRIOR_HZ, abs=0.01)
    assert common_r2([], 3.0).sd_hz == pytest.approx(PRIOR_SD_HZ, rel=0.01)
    assert common_r2(found, 3.0).sd_hz > 0.5


def test_bleeds_and_what_was_not_measured_say_nothing():
    found, _ = lesions(-3.5, 6)
    bleed = dict(found[0], chi_para=Contrast(400.0, 5.0, 3.0))
    nothing = {name: Contrast(np.nan, np.nan, np.nan) for name in found[0]}
    assert common_r2([*found, bleed, nothing], 3.0) == common_r2(found, 3.0)
    assert from_decay(nothing, common_r2(found, 3.0), 3.0) is None
    assert from_decay({"chi_para": found[0]["chi_para"]}, common_r2(found, 3.0), 3.0) is None
