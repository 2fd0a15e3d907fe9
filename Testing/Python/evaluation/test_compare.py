"""Results against truth, on files made for it."""

import numpy as np
import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.evaluation import metrics
from QSMReconLib.evaluation.compare import evaluate, write_table
from QSMReconLib.io.nifti import read_volume, write_volume

GRID = Grid.centred((18, 17, 16), (2.0, 2.0, 2.0))
RNG = np.random.default_rng(0)


def volume(mean=0.0, sd=0.05):
    return torch.from_numpy(RNG.normal(mean, sd, GRID.shape)).float()


def put(folder, scan, grid=GRID, **maps):
    for bids, tensor in maps.items():
        name = bids.replace("desc_", "desc-")
        write_volume(folder / scan.split("_")[0] / "anat" / f"{scan}_{name}.nii.gz", tensor, grid)


@pytest.fixture
def folders(tmp_path):
    """One scan with its truth: results are the truth, scaled, shifted and noisy; a third of the mask is lost."""
    brain = torch.zeros(GRID.shape)
    brain[3:-3, 3:-3, 3:-3] = 1
    local_mask = brain.clone()
    local_mask[:, :, :6] = 0
    chi, local, total, r2, r2prime = volume(), volume(), volume(0.3, 0.2), volume(12, 2), volume(6, 1)
    labels = torch.from_numpy(RNG.integers(1, 10, GRID.shape)) * brain
    truth, out = tmp_path / "truth", tmp_path / "out"
    put(
        truth, "sub-a", Chimap=chi * brain, desc_local_fieldmap=local * brain, desc_total_fieldmap=total * brain,
        R2map=r2 * brain, R2primemap=r2prime * brain, desc_brain_mask=brain, dseg=labels.int(),
    )  # fmt: skip
    jitter = torch.from_numpy(RNG.choice([-0.003, 0.0, 0.003], GRID.shape)).float()
    put(
        out, "sub-a_run-1", Chimap=(0.8 * chi + 0.01) * local_mask, desc_local_fieldmap=local * local_mask,
        desc_total_fieldmap=(total + 0.1 + jitter) * brain, desc_brain_mask=brain,
        desc_local_mask=local_mask, R2starmap=(r2 + r2prime + 1.5) * brain,
    )  # fmt: skip
    return out, truth, local_mask


def test_every_map_gets_its_row(folders):
    out, truth, local_mask = folders
    table = evaluate(out, truth)
    assert list(table["map"]) == ["brain mask", "Total field", "Local field", "χ", "R2*"]
    assert set(table["scan"]) == {"sub-a_run-1"}
    rows = table.set_index("map")
    assert rows.loc["brain mask", "dice"] == 1
    assert rows.loc["Total field", "median_error"] == pytest.approx(3.0, abs=0.01)
    assert rows.loc["Total field", "offset"] == pytest.approx(100, abs=0.5)
    assert rows.loc["Total field", "voxels"] == 8 * 7 * 6
    assert rows.loc["Local field", "nrmse"] == pytest.approx(0, abs=1e-3)
    assert rows.loc["R2*", "offset"] == pytest.approx(1.5, abs=1e-3)
    assert rows.loc["R2*", "unit"] == "Hz"
    assert np.isnan(rows.loc["R2*", "xsim"])
    assert rows.loc["χ", "nrmse"] == pytest.approx(20, rel=1e-3)
    assert rows.loc["χ", "nrmse_detrend"] == pytest.approx(0, abs=1e-3)
    assert rows.loc["χ", "dgm_linearity"] == pytest.approx(0.2, rel=1e-3)
    assert rows.loc["χ", "kept"] == pytest.approx(float(local_mask.sum()) / (12 * 11 * 10))


def test_scores_are_those_of_the_metrics_on_the_mask_of_the_map(folders):
    out, truth, local_mask = folders
    chi, true = (
        read_volume(folder / "sub-a" / "anat" / name)[0]
        for folder, name in ((out, "sub-a_run-1_Chimap.nii.gz"), (truth, "sub-a_Chimap.nii.gz"))
    )
    row = evaluate(out, truth).set_index("map").loc["χ"]
    for name, value in metrics.map_metrics(chi, true, local_mask).items():
        assert row[name] == pytest.approx(value, nan_ok=True)


def test_participants_and_tables(folders, tmp_path):
    out, truth, _ = folders
    assert len(evaluate(out, truth, ["sub-a"])) == len(evaluate(out, truth, ["a"])) == 5
    write_table(evaluate(out, truth), tmp_path / "new" / "table.tsv")
    lines = (tmp_path / "new" / "table.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:3] == ["scan", "map", "unit"]
    assert "n/a" in lines[1]
    assert len(lines) == 6


def test_what_cannot_be_compared_is_said(folders, tmp_path):
    out, truth, _ = folders
    with pytest.raises(InputError, match="has its truth"):
        evaluate(out, truth, ["b"])
    with pytest.raises(InputError, match="no folder"):
        evaluate(tmp_path / "nowhere", truth)
    other = Grid.centred(GRID.shape, (2.0, 2.0, 3.0))
    put(out, "sub-a_run-1", other, Chimap=volume())
    with pytest.raises(InputError, match="not on the grid"):
        evaluate(out, truth)
