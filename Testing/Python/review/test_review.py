"""Lesions of known kind measured and classed, in a head that the tests draw themselves."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.io.files import load_map
from QSMReconLib.io.nifti import write_volume
from QSMReconLib.labels import Label
from QSMReconLib.phantoms.closed_forms import sphere
from QSMReconLib.review.files import review_files
from QSMReconLib.review.lesions import split
from QSMReconLib.review.maps import ReviewMaps, channel
from QSMReconLib.review.measures import measure
from QSMReconLib.review.report import render_report
from QSMReconLib.review.surroundings import from_labels, from_maps
from QSMReconLib.review.table import review

GRID = Grid.centred((72, 72, 60), (1.0, 1.0, 1.2), (0.0, 0.3, 0.954))
LESIONS = {  # label: centre, radius, χ_para and χ_dia in ppb, words
    1: ((20, 24, 20), 4.5, 45.0, 12.0, "hyper", "hypo"),
    2: ((50, 24, 20), 4.5, 18.0, 30.0, "iso", "iso"),
    3: ((20, 48, 20), 4.5, 5.0, 12.0, "hypo", "hypo"),
    4: ((50, 48, 20), 5.5, 20.0, 12.0, "rim", "hypo"),
    5: ((24, 36, 40), 2.2, 900.0, 0.0, "bleed", ""),
    6: ((48, 36, 40), 2.2, 0.0, 800.0, "calcification", ""),
}
TITLES = {name: (name, "ppb", (0.0, 1.0), 1.0) for name in ("chi_para", "chi_dia")}


def ball(centre, radius):
    at = [(np.arange(n) - c) * v for n, c, v in zip(GRID.shape, centre, GRID.voxel_size_mm, strict=True)]
    return np.sqrt(at[0][:, None, None] ** 2 + at[1][None, :, None] ** 2 + at[2][None, None, :] ** 2) <= radius


@pytest.fixture(scope="module")
def drawn():
    """White matter with lesions, a shell of cortex, a ventricle, a vein; 3 ppb of noise."""
    rng = np.random.default_rng(0)
    mask, white = ball((36, 36, 30), 34), ball((36, 36, 30), 30)
    tissue = np.where(white, int(Label.WHITE_MATTER), int(Label.GREY_MATTER)) * mask
    para, dia = np.where(white, 18.0, 25.0), np.where(white, 30.0, 12.0)
    r2star = np.where(white, 20.0, 16.0)
    ventricle, vein = ball((36, 36, 30), 6), np.zeros(GRID.shape, dtype=bool)
    vein[36, 14:58, 48] = True
    para[ventricle], dia[ventricle], r2star[ventricle] = 0, 0, 1.0
    para[vein] = 300.0
    tissue[ventricle], tissue[vein] = int(Label.CSF), int(Label.VEIN)
    labels = np.zeros(GRID.shape, dtype=int)
    field = torch.zeros(GRID.shape)
    for label, (centre, radius, p, d, *_) in LESIONS.items():
        where = ball(centre, radius)
        labels[where], para[where], dia[where] = label, p, d
        if label == 4:
            para[where & ~ball(centre, radius - 2)] = 60.0
        if label > 4:
            r2star[where] = 120.0
            middle = [(c - (n - 1) / 2) * v for c, n, v in zip(centre, GRID.shape, GRID.voxel_size_mm, strict=True)]
            field += sphere(GRID, radius, 1e-3 * (p - d + 12), middle, samples=2)[1]
    maps = {
        "chi": 1e-3 * (para - dia + rng.normal(0, 3, GRID.shape)) * mask,
        "chi_para": 1e-3 * np.abs(para + rng.normal(0, 3, GRID.shape)) * mask,
        "chi_dia": 1e-3 * np.abs(dia + rng.normal(0, 3, GRID.shape)) * mask,
        "r2star": (r2star + rng.normal(0, 1, GRID.shape)) * mask,
    }
    channels = {name: channel(name, values) for name, values in maps.items()}
    return ReviewMaps(GRID, mask, channels, None, field.numpy()), labels, tissue, maps


@pytest.fixture(scope="module")
def done(drawn):
    maps, labels, tissue, _ = drawn
    return review(split(labels, GRID), maps, from_labels(tissue))


def row(done, label):
    return done.table.set_index("label").loc[label]


def test_classes(done):
    for label, (*_, first, second) in LESIONS.items():
        found = row(done, label)
        if label < 5:
            assert (found["class_para"], found["class_dia"], found["class_focal"]) == (first, second, "other")
        else:
            assert found["class_focal"] == first


def test_numbers(done):
    hyper = row(done, 1)
    assert hyper["volume_mm3"] == ball(*LESIONS[1][:2]).sum() * 1.2
    assert hyper[["x", "y", "z"]].tolist() == pytest.approx([20 - 35.5, 24 - 35.5, (20 - 29.5) * 1.2])
    assert hyper["chi_para_median_ppb"] == pytest.approx(45, abs=1)
    assert hyper["chi_para_normal_ppb"] == pytest.approx(18, abs=0.5)
    assert hyper["chi_para_contrast_low_ppb"] < 27 < hyper["chi_para_contrast_high_ppb"]
    assert hyper["chi_para_local_sd_ppb"] == pytest.approx(3, rel=0.15)
    assert hyper["chi_contrast_ppb"] == pytest.approx(45, abs=1)
    assert hyper["r2star_median_hz"] == pytest.approx(20, abs=0.5)
    assert hyper["vein_share"] == 0
    # From its surface to that of the ventricle, as voxels have it.
    gap = np.linalg.norm(([20, 24, 20] - np.array([36, 36, 30])) * GRID.voxel_size_mm) - 4.5 - 6
    assert hyper["distance_ventricle_mm"] == pytest.approx(gap, abs=1.2)


def test_moments_of_map_and_field(done):
    for label in (5, 6):
        _, radius, p, d, *_ = LESIONS[label]
        counted = 1e-3 * (p - d + 12) * ball(LESIONS[label][0], radius).sum() * 1.2
        found = row(done, label)
        assert found["moment_map_ppm_mm3"] == pytest.approx(counted, rel=0.05)
        assert found["moment_map_error_ppm_mm3"] < 0.05 * abs(counted)
        exact = 1e-3 * (p - d + 12) * 4 / 3 * np.pi * radius**3
        assert found["moment_field_ppm_mm3"] == pytest.approx(exact, rel=0.05)
        # The field is that of the ball itself, which the drawn voxels fill only in part.
        assert (found["moment_by"], found["moment_ppm_mm3"]) == ("field", found["moment_field_ppm_mm3"])
    assert row(done, 1)["moment_by"] == "map"


def test_only_the_rim_has_a_rim(done):
    assert row(done, 4)["rim_contrast_ppb"] == pytest.approx(40, abs=4)
    assert row(done, 4)["rim_score"] > 5
    assert all(abs(row(done, label)["rim_contrast_ppb"]) < 5 for label in (1, 2, 3))
    profile = {d: m for d, m, _ in next(one for one in done.measured if one.label == 4).profile["chi_para"]}
    depth = sorted(profile)
    assert profile[depth[-1]] == pytest.approx(20, abs=3)
    assert max(profile, key=lambda d: profile[d]) > 0


def test_intervals_hold_the_truth_as_often_as_they_say(drawn):
    maps, labels, tissue, _ = drawn
    rng = np.random.default_rng(1)
    held, n = 0, 40
    around = from_labels(tissue)
    which = split(labels * (labels == 1), GRID)
    for _ in range(n):
        noisy = np.where(labels == 1, 45.0, 18.0) + rng.normal(0, 8, GRID.shape)
        one = measure(which, ReviewMaps(GRID, maps.mask, {"chi_para": channel("chi_para", 1e-3 * noisy)}), around)[0]
        held += one.row["chi_para_contrast_low_ppb"] < 27 < one.row["chi_para_contrast_high_ppb"]
    # Independent voxels: the interval, made for maps whose neighbours err together, is wide rather than narrow.
    assert held / n > 0.85


def test_tissue_told_from_maps_gives_the_same_classes(drawn, done):
    maps, labels, tissue, _ = drawn
    told = from_maps(maps, labels > 0)
    truth = (tissue == int(Label.WHITE_MATTER)) & (labels == 0)
    assert (told.white & truth).sum() / told.white.sum() > 0.97
    assert (told.white & truth).sum() / truth.sum() > 0.6
    assert told.veins[36, 30, 48]
    assert told.ventricles[36, 36, 30]
    other = review(split(labels, GRID), maps)
    for column in ("class_para", "class_dia", "class_focal"):
        assert other.table[column].tolist() == done.table[column].tolist()
    assert any("No segmentation" in remark for remark in other.remarks)


def test_doubts_are_flagged(drawn):
    maps, _, tissue, _ = drawn
    labels = np.zeros(GRID.shape, dtype=int)
    labels[0:3, 0:3, 0:3] = 1
    labels[ball((36, 6, 30), 2)] = 2
    labels[36, 36, 44] = 3
    table = review(split(labels, GRID), maps, from_labels(tissue)).table.set_index("label")
    assert table.loc[1, "flags"] == "outside the mask"
    assert (table.loc[1, "class_para"], table.loc[1, "class_focal"]) == ("undecided", "undecided")
    assert "edge of the mask" in table.loc[2, "flags"]
    assert "tiny" in table.loc[3, "flags"]


def test_fewer_maps_give_fewer_columns(drawn):
    maps, labels, _, _ = drawn
    only = ReviewMaps(GRID, maps.mask, {"chi": maps.channels["chi"]})
    table = review(split(labels, GRID), only).table
    assert "class_para" not in table
    assert table.set_index("label").loc[5, "class_focal"] == "bleed"


def test_the_report_shows_every_lesion(done):
    html = render_report(done, "sub-<1>", {"Inputs": "x"})
    assert "sub-&lt;1&gt;" in html
    assert len(re.findall(r'<section id="lesion-\d+">', html)) == len(LESIONS)
    assert html.count("data:image/png;base64,") == len(LESIONS) + 3  # The brain in three views, with every lesion.
    assert "research use only" in html
    assert "not a published standard" in html
    assert html.count("<svg") == len(LESIONS)
    assert "http" not in html.replace("http-equiv", "")


def test_from_files_to_files(drawn, tmp_path):
    _, labels, tissue, values = drawn
    anat = tmp_path / "out" / "sub-1" / "anat"
    for name, bids in (("chi", "Chimap"), ("chi_para", "desc-para_Chimap"), ("chi_dia", "desc-dia_Chimap")):
        write_volume(anat / f"sub-1_{bids}.nii.gz", torch.from_numpy(values[name]).float(), GRID)
    write_volume(anat / "sub-1_desc-brain_mask.nii.gz", torch.from_numpy(tissue > 0), GRID)
    lesions, r2star = tmp_path / "lesions.nii.gz", tmp_path / "r2star.nii.gz"
    write_volume(lesions, torch.from_numpy(labels).int(), GRID)
    write_volume(r2star, torch.from_numpy(values["r2star"]).float(), GRID)
    out, report = tmp_path / "table.tsv", tmp_path / "report.html"
    numbered = tmp_path / "numbered.nii.gz"
    review_files(out, lesions, tmp_path / "out", {"r2star": r2star}, report=report, numbered=numbered)
    assert np.array_equal(load_map(numbered)[0].numpy(), labels)
    table = pd.read_csv(out, sep="\t")
    assert table["label"].tolist() == list(LESIONS)
    assert table["class_para"].tolist()[:4] == ["hyper", "iso", "hypo", "rim"]
    described = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert set(table) <= set(described)
    assert described["Inputs"]["lesions"]["SHA256"]
    assert described["chi_dia_contrast_ppb"]["Units"] == "ppb"
    assert described["Thresholds"]["floor_ppb"] > 0
    assert "sub-1" in report.read_text("utf-8")
    with pytest.raises(InputError, match="there already"):
        review_files(out, lesions, tmp_path / "out")
    proposed = review_files(tmp_path / "p.tsv", None, tmp_path / "out")
    assert sorted(proposed.table["class_focal"]) == ["bleed", "calcification"]
    assert proposed.table["proposed"].all()
    other = Grid.centred(GRID.shape, (1.0, 1.0, 1.0))
    write_volume(lesions, torch.from_numpy(labels).int(), other)
    with pytest.raises(InputError, match="another grid"):
        review_files(out, lesions, tmp_path / "out", overwrite=True)
    with pytest.raises(InputError, match="no map"):
        review_files(tmp_path / "q.tsv", lesions)
    with pytest.raises(InputError, match="no χ or R2"):
        review_files(tmp_path / "q.tsv", lesions, tmp_path / "nowhere")
