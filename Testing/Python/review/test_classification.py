"""From contrasts to words."""

import pytest

from QSMReconLib.errors import OptionError
from QSMReconLib.review.classification import Contrast, Thresholds, classify, classify_focal, classify_para

T = Thresholds(floor_ppb=6.0, sd_factor=0.5, certainty=0.9, focal_ppb=150.0)


@pytest.mark.parametrize(
    ("value", "word"), [(20.0, "hyper"), (0.5, "iso"), (-20.0, "hypo"), (6.2, "undecided"), (-5.9, "undecided")]
)
def test_three_words_and_doubt(value, word):
    assert classify(Contrast(value, 1.0, 2.0), T)[0] == word


def test_probability_is_the_normal_one():
    # One standard error beyond the threshold: 84.13 %.
    word, probability = classify(Contrast(8.0, 2.0, 0.0), T)
    assert (word, probability) == ("undecided", pytest.approx(0.8413, abs=1e-4))
    assert classify(Contrast(8.0, 2.0, 0.0), Thresholds(certainty=0.84))[0] == "hyper"
    assert classify(Contrast(7.0, 0.0, 0.0), T) == ("hyper", 1.0)


def test_noisy_surroundings_raise_the_threshold():
    assert classify(Contrast(9.0, 0.5, 4.0), T)[0] == "hyper"
    assert classify(Contrast(9.0, 0.5, 30.0), T)[0] == "iso"


def test_a_rim_comes_before_the_rest():
    whole = Contrast(18.0, 2.0, 3.0)
    rim, edge = Contrast(30.0, 3.0, 0.0), Contrast(25.0, 2.0, 3.0)
    assert classify_para(whole, rim, edge, T)[0] == "rim"
    assert classify_para(whole, Contrast(1.0, 2.0, 0.0), edge, T) == classify(whole, T)
    assert classify_para(whole, None, None, T) == classify(whole, T)
    # An edge above the core but not above the tissue around is the border of a hole, no rim.
    assert classify_para(Contrast(-15.0, 1.0, 3.0), rim, Contrast(0.0, 1.0, 3.0), T)[0] == "hypo"
    assert classify_para(whole, Contrast(7.0, 3.0, 0.0), edge, T)[0] == "undecided"


def test_focal_lesions_go_by_the_sign_of_their_moment():
    def focal(peak, moment, elongation=1.2):
        return classify_focal(peak, moment, 1.0, elongation, 30.0, T)

    assert focal(800.0, 20.0) == ("bleed", pytest.approx(1))
    assert focal(-800.0, -20.0)[0] == "calcification"
    assert focal(800.0, 20.0, 5.0)[0] == "vessel"
    assert focal(60.0, 20.0) == ("other", pytest.approx(0.9965, abs=1e-3))
    assert focal(300.0, 1.0) == ("undecided", pytest.approx(0.8413, abs=1e-3))


def test_nothing_measured_is_nothing_decided():
    assert classify(Contrast(float("nan"), float("nan"), float("nan")), T)[0] == "undecided"


def test_thresholds_are_checked():
    with pytest.raises(OptionError, match="certainty"):
        Thresholds(certainty=1.2)
    with pytest.raises(OptionError, match="floor_ppb"):
        Thresholds(floor_ppb=0)
