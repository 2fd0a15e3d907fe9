"""The metrics against what a hand or another formula gives."""

import numpy as np
import pytest
import torch

from QSMReconLib.errors import InputError
from QSMReconLib.evaluation import metrics
from QSMReconLib.labels import Label

SHAPE = (13, 12, 14)


@pytest.fixture
def truth():
    return np.random.default_rng(1).normal(0, 0.05, SHAPE)


@pytest.fixture
def noise():
    return np.random.default_rng(2).normal(0, 0.02, SHAPE)


@pytest.fixture
def mask():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:-2, 1:-1, 2:-1] = True
    return mask


def test_nrmse_by_hand():
    truth = np.array([1.0, -1.0, 1.0, -1.0, 50.0]).reshape(5, 1, 1)
    chi = np.array([3.5, 0.5, 3.5, 2.5, -9.0]).reshape(5, 1, 1)
    mask = np.array([1, 1, 1, 1, 0]).reshape(5, 1, 1)
    # Without their means: chi = (1, -2, 1, 0), truth = (1, -1, 1, -1); the difference is (0, -1, 0, 1).
    assert metrics.nrmse(chi, truth, mask) == pytest.approx(100 * np.sqrt(2 / 4))


def test_detrended_nrmse_forgets_scale_and_offset(truth, mask, noise):
    assert metrics.nrmse_detrended(-0.6 * truth + 0.3, truth, mask) == pytest.approx(0, abs=1e-9)
    assert metrics.nrmse(0.6 * truth + 0.3, truth, mask) == pytest.approx(40)
    # By hand: the fit of (1, 2, 6) on (-1, 0, 1) is 2.5·t + 3; (r - 3)/2.5 - t = (0.2, -0.4, 0.2).
    three = [np.array(v, dtype=float).reshape(3, 1, 1) for v in ((1, 2, 6), (-1, 0, 1), (1, 1, 1))]
    assert metrics.nrmse_detrended(*three) == pytest.approx(100 * np.sqrt(0.24 / 2))


def test_a_flat_map_scores_as_doing_nothing(truth, mask):
    flat = np.full(SHAPE, 0.02)
    assert metrics.nrmse(flat, truth, mask) == pytest.approx(100)
    assert metrics.nrmse_detrended(flat, truth, mask) == pytest.approx(100)
    assert metrics.correlation(flat, truth, mask) == 0
    assert metrics.xsim(flat, truth, mask) < 0.1


def test_xsim_equals_the_sum_over_windows(truth, mask, noise):
    chi = 0.7 * truth + noise
    chi_in, truth_in = np.where(mask, chi, 0), np.where(mask, truth, 0)
    found = []
    for x, y, z in np.argwhere(mask):
        window = tuple(slice(max(i - 2, 0), i + 3) for i in (x, y, z))
        a, b = chi_in[window], truth_in[window]
        covariance = ((a - a.mean()) * (b - b.mean())).mean()
        luminance = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
        found.append(luminance * (2 * covariance + 1e-6) / (a.var() + b.var() + 1e-6))
    assert metrics.xsim(chi, truth, mask) == pytest.approx(np.mean(found))
    assert metrics.xsim(truth, truth, mask) == pytest.approx(1)
    assert metrics.xsim(-truth, truth, mask) < -0.5


def test_hfen_of_gaussians():
    x = np.arange(41) - 20
    squared = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2
    truth, narrow = np.exp(-squared / (2 * 3.0**2)), np.exp(-squared / (2 * 2.0**2))
    inside = np.ones(truth.shape)
    assert metrics.hfen(1.3 * truth, truth, inside) == pytest.approx(30)

    def log_of_gaussian(sigma):
        # Smoothing by 1.5 voxels makes a Gaussian wider and lower; its Laplacian is known.
        variance = sigma**2 + 1.5**2
        return (sigma**2 / variance) ** 1.5 * np.exp(-squared / (2 * variance)) * (squared / variance - 3) / variance

    expected = np.linalg.norm(log_of_gaussian(2) - log_of_gaussian(3))
    expected *= 100 / np.linalg.norm(log_of_gaussian(3))
    assert metrics.hfen(narrow, truth, inside) == pytest.approx(expected, rel=1e-3)


def test_ssim_and_correlation(truth, mask, noise):
    assert metrics.ssim(truth, truth, mask) == pytest.approx(1)
    assert metrics.ssim(truth + noise, truth, mask) > metrics.ssim(truth + 3 * noise, truth, mask)
    assert metrics.correlation(3 * truth - 1, truth, mask) == pytest.approx(1)
    assert metrics.correlation(-truth, truth, mask) == pytest.approx(-1)


def test_what_is_outside_the_mask_does_not_count(truth, mask, noise):
    chi = truth + noise
    wild = np.where(mask, chi, np.nan)
    assert metrics.map_metrics(wild, truth, mask) == metrics.map_metrics(chi, np.where(mask, truth, 7.0), mask)


def test_tensors_and_arrays_score_alike(truth, mask, noise):
    arrays = metrics.map_metrics(truth + noise, truth, mask)
    tensors = metrics.map_metrics(*(torch.as_tensor(v) for v in (truth + noise, truth, mask)))
    assert arrays == tensors


def test_linearity_of_the_nuclei():
    labels = np.zeros(SHAPE, dtype=int)
    labels[2:8, 3, 4] = np.arange(1, 7)
    labels[9, 9, 9] = Label.THALAMUS
    truth = np.where(labels == Label.THALAMUS, 9.0, 0.03 * labels)
    mask = np.ones(SHAPE)
    assert metrics.dgm_linearity(0.8 * truth + 0.1, truth, mask, labels) == pytest.approx(0.2)
    assert metrics.dgm_linearity(1.1 * truth, truth, mask, labels) == pytest.approx(0.1)
    assert np.isnan(metrics.dgm_linearity(truth, truth, mask, np.zeros(SHAPE)))


def test_regions_use_the_detrended_value():
    rng = np.random.default_rng(3)
    labels = rng.integers(1, 11, SHAPE)
    labels[6, 6, 6] = Label.VEIN
    truth = rng.normal(0, 0.05, SHAPE)
    chi = truth + rng.normal(0, 0.02, SHAPE)
    inside = np.ones(SHAPE)
    inside[:, :, 7:] = 0
    found = metrics.challenge_metrics(chi, truth, inside, labels)
    deep = (labels <= 6) & (inside > 0)
    assert found["nrmse_dgm"] == metrics.nrmse_detrended(chi, truth, deep)
    tissue = (labels >= 7) & (labels <= 9) & (inside > 0)
    assert found["nrmse_tissue"] == metrics.nrmse_detrended(chi, truth, tissue)
    blood = np.zeros(SHAPE)
    blood[5:8, 5:8, 5:7] = 1
    assert found["nrmse_blood"] == metrics.nrmse_detrended(chi, truth, blood)
    assert np.isnan(found["calc_moment_dev"])
    assert np.isnan(found["calc_streak"])


def test_calcification_by_hand():
    shape = (31, 31, 31)
    rng = np.random.default_rng(4)
    labels = np.zeros(shape, dtype=int)
    labels[14:17, 14:17, 14:17] = Label.CALCIFICATION
    truth = np.where(labels > 0, -2.0, rng.normal(0, 0.01, shape))
    chi = np.where(labels > 0, -1.5, truth)
    chi[22, 15, 15] = -0.4  # In the rim: the threshold becomes -0.4 and the streak level grows.
    chi[13, 15, 15] = -0.5  # Beside the calcification and below the threshold: it belongs to the segment.
    deviation, streak = metrics.calcification(chi, truth, np.ones(shape), labels)
    assert deviation == pytest.approx(abs(27 * -2.0 - (27 * -1.5 - 0.5)))
    rim = np.zeros(shape, dtype=bool)
    rim[7:24, 7:24, 7:24] = True
    rim[11:20, 11:20, 11:20] = False
    fit = np.polyfit(truth[rim], chi[rim], 1)
    expected = np.std(chi[rim] - np.polyval(fit, truth[rim])) / ((27 * 1.5 + 0.5) / 28)
    assert streak == pytest.approx(expected)


def test_a_missed_calcification_loses_its_whole_moment():
    shape = (25, 25, 25)
    labels = np.zeros(shape, dtype=int)
    labels[12, 12, 12] = Label.CALCIFICATION
    truth = np.where(labels > 0, -1.0, 0.0)
    deviation, streak = metrics.calcification(np.zeros(shape), truth, np.ones(shape), labels)
    assert deviation == pytest.approx(1.0)
    assert np.isnan(streak)


def test_calcifications_far_apart_are_scored_one_by_one():
    shape = (60, 25, 25)
    labels = np.zeros(shape, dtype=int)
    labels[12, 12, 12] = labels[40, 12, 12] = Label.CALCIFICATION
    truth = np.where(labels > 0, -1.0, 0.0)
    chi = truth.copy()
    chi[12, 12, 12], chi[40, 12, 12] = -0.7, -1.4
    deviation, _ = metrics.calcification(chi, truth, np.ones(shape), labels)
    assert deviation == pytest.approx(0.3 + 0.4)


def test_nothing_to_score_is_not_a_good_mark(truth):
    nothing = np.zeros(SHAPE)
    assert all(np.isnan(v) for v in metrics.map_metrics(truth, truth, nothing).values())
    flat = metrics.challenge_metrics(truth, np.zeros(SHAPE), np.ones(SHAPE), np.zeros(SHAPE))
    assert np.isnan(flat["nrmse"])
    assert np.isnan(flat["nrmse_dgm"])


def test_dice():
    a, b = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    a[:2], b[1:3] = 1, 1
    assert metrics.dice(a, b) == pytest.approx(0.5)
    assert np.isnan(metrics.dice(0 * a, 0 * b))


def test_what_cannot_be_scored_is_said(truth, mask):
    with pytest.raises(InputError, match="not on one grid"):
        metrics.nrmse(truth, truth[1:], mask)
    with pytest.raises(InputError, match="not finite"):
        metrics.xsim(np.full(SHAPE, np.nan), truth, mask)
    with pytest.raises(InputError, match="segmentation"):
        metrics.challenge_metrics(truth, truth, mask, np.zeros((3, 3, 3)))
