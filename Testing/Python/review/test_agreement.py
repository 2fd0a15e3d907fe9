"""Agreement against published and hand-made numbers."""

import numpy as np
import pandas as pd
import pytest

from QSMReconLib.errors import InputError
from QSMReconLib.review.agreement import agreement, bland_altman, cohen_kappa, compare, describe


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, by chance 0.5, κ 0.4.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    kappa, error = cohen_kappa(pairs)
    assert kappa == pytest.approx(0.4)
    # Fleiss, Cohen and Everitt's variance, term by term.
    p = np.array([[0.4, 0.1], [0.2, 0.3]])
    rows, columns = p.sum(1), p.sum(0)
    terms = sum(p[i, i] * (1 - (rows[i] + columns[i]) * 0.6) ** 2 for i in (0, 1))
    terms += 0.36 * sum(p[i, j] * (columns[i] + rows[j]) ** 2 for i, j in ((0, 1), (1, 0)))
    expected = np.sqrt((terms - (0.4 - 0.5 * 0.6) ** 2) / 50) / 0.5
    assert error == pytest.approx(expected)


def test_kappa_holds_its_interval():
    rng = np.random.default_rng(0)
    words = np.array(["hyper", "iso", "hypo"])
    found, covered = [], 0
    for _ in range(300):
        first = rng.choice(3, 250, p=(0.3, 0.3, 0.4))
        second = np.where(rng.uniform(size=250) < 0.8, first, rng.choice(3, 250, p=(0.3, 0.3, 0.4)))
        kappa, error = cohen_kappa(list(zip(words[first], words[second], strict=True)))
        found.append(kappa)
        covered += abs(kappa - 0.8) < 1.96 * error
    assert np.mean(found) == pytest.approx(0.8, abs=0.01)
    assert 0.9 < covered / 300 <= 1


def test_undecided_lesions_are_counted_and_left_out():
    found = agreement("class_para", ["hyper", "iso", "undecided", "hypo"], ["hyper", "hypo", "iso", "hypo"])
    assert (found.lesions, found.undecided) == (4, 1)
    assert found.percent == pytest.approx(200 / 3)
    assert found.confusion.loc["undecided", "iso"] == 1
    assert found.confusion.to_numpy().sum() == 4
    assert np.isnan(agreement("class_dia", ["iso", "iso"], ["iso", "iso"]).kappa)


def test_bland_altman_by_hand():
    found = bland_altman("v", np.array([1.0, 2.0, 3.0, np.nan]), np.array([2.0, 4.0, 3.0, 9.0]))
    assert (found.lesions, found.bias) == (3, pytest.approx(1))
    assert found.upper_limit == pytest.approx(1 + 1.96)
    assert found.bias_high == pytest.approx(1 + 4.3027 / np.sqrt(3), rel=1e-4)


def table(places, para, volume=30.0):
    rows = np.array(places, dtype=float)
    return pd.DataFrame(
        {"label": range(1, len(rows) + 1), "x": rows[:, 0], "y": rows[:, 1], "z": rows[:, 2], "class_para": para,
         "volume_mm3": volume, "chi_contrast_ppb": 10.0 * np.arange(len(rows))}
    )  # fmt: skip


def test_lesions_are_matched_by_place():
    first = table([(0, 0, 0), (20, 0, 0), (40, 0, 0)], ["hyper", "iso", "rim"])
    second = table([(41, 0, 0), (0, 1, 0), (80, 0, 0)], ["rim", "iso", "hypo"])
    found = compare(first, second)
    assert set(found.pairs) == {(1, 2), (3, 1)}
    assert (found.only_first, found.only_second) == ((2,), (3,))
    assert found.agreements[0].percent == 50
    assert found.differences[0].column == "chi_contrast_ppb"
    written = describe(found)
    assert written["Matched"] == 2
    assert written["Classes"]["class_para"]["PercentAgreement"] == 50


def test_a_transform_brings_visits_together():
    first = table([(0, 0, 0), (20, 5, 0), (40, 0, 9)], ["hyper", "iso", "rim"])
    turn = np.array([[0.0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 11], [0, 0, 0, 1]])
    second = first.copy()
    moved = first[["x", "y", "z"]].to_numpy() @ turn[:3, :3].T + turn[:3, 3]
    second[["x", "y", "z"]] = moved
    assert len(compare(first, second).pairs) < 3
    assert compare(first, second, np.linalg.inv(turn)).pairs == ((1, 1), (2, 2), (3, 3))


def test_no_match_is_forced():
    first, second = table([(0, 0, 0)], ["iso"]), table([(30, 0, 0)], ["iso"])
    assert compare(first, second).pairs == ()
    assert compare(first, second, farthest_mm=40).pairs == ((1, 1),)
    # A large lesion's centre may wander within it.
    assert compare(table([(0, 0, 0)], ["iso"], 4000.0), table([(9, 0, 0)], ["iso"])).pairs == ((1, 1),)
    with pytest.raises(InputError, match="no column"):
        compare(first.drop(columns="x"), second)
