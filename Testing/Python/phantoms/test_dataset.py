"""The simulated scan on disk: what the reader finds there is what was simulated."""

import csv

import numpy as np
import pytest
import torch

from QSMReconLib.data import GreData, SpinEchoData
from QSMReconLib.errors import InputError
from QSMReconLib.io.bids import find_scans, load_scan
from QSMReconLib.io.nifti import read_volume
from QSMReconLib.phantoms.dataset import simulate
from QSMReconLib.physics.constants import radians_per_ppm

COARSE = {"shape": (36, 40, 32), "voxel_size_mm": (5.0, 5.0, 5.0), "resolution_mm": 5.0, "bleeds": 1, "ms_lesions": 2}


def truth_of(folder, name, bids):
    return read_volume(folder / "derivatives" / "truth" / f"sub-{name}" / "anat" / f"sub-{name}_{bids}.nii.gz")


@pytest.mark.parametrize("style", ["siemens", "ge", "radians"])
def test_the_reader_finds_what_was_simulated(tmp_path, style):
    out = simulate(tmp_path, style, seed=5, style=style, tilt_deg=10.0, snr=200.0, **COARSE)
    (files,) = find_scans(out)
    scan = load_scan(files)
    gre, spin = scan.artifacts[GreData], scan.artifacts[SpinEchoData]
    assert gre.echo_times_s == pytest.approx((0.005, 0.012, 0.019, 0.026))
    assert gre.field_strength_t == 3.0
    assert gre.grid.b0_direction == pytest.approx((0, np.sin(np.deg2rad(10)), np.cos(np.deg2rad(10))), abs=1e-5)
    assert spin.magnitude.shape == gre.magnitude.shape
    mask, grid = truth_of(out, style, "desc-brain_mask")
    assert grid.same_place(gre.grid)
    # The first two echoes say how far the field turned the phase between them.
    total, _ = truth_of(out, style, "desc-total_fieldmap")
    inside = (mask > 0) & (total.abs() < 0.3)
    turned = (gre.phase_rad[1] - gre.phase_rad[0] - total * radians_per_ppm(3.0, 0.007))[inside]
    off = torch.remainder(turned + torch.pi, 2 * torch.pi) - torch.pi
    assert float(off.abs().median()) < 0.05


def test_all_styles_hold_the_same_scan(tmp_path):
    phases = []
    for style in ("radians", "siemens", "ge"):
        simulate(tmp_path, style, seed=5, style=style, **COARSE)
        (files,) = find_scans(tmp_path, [style])
        gre = load_scan(files).artifacts[GreData]
        phases.append(gre.phase_rad[2])
    inside = truth_of(tmp_path, "ge", "desc-brain_mask")[0] > 0
    for other in phases[1:]:
        off = torch.remainder((other - phases[0])[inside] + torch.pi, 2 * torch.pi) - torch.pi
        assert float(off.abs().quantile(0.99)) < 0.005


def test_truth_on_disk_is_consistent(tmp_path):
    simulate(tmp_path, "a", seed=7, spin_echo_times_s=(), **COARSE)
    assert not list(tmp_path.glob("**/*MESE*"))
    maps = {
        bids: truth_of(tmp_path, "a", bids)[0]
        for bids in ("Chimap", "desc-para_Chimap", "desc-dia_Chimap", "R2primemap", "desc-brain_mask", "dseg")
    }
    para, dia = maps["desc-para_Chimap"], maps["desc-dia_Chimap"]
    assert torch.allclose(maps["Chimap"], para - dia, atol=1e-6)
    assert torch.allclose(maps["R2primemap"], 137 * (para + dia), rtol=1e-4, atol=1e-4)
    assert torch.equal(maps["dseg"] > 0, maps["desc-brain_mask"] > 0)
    folder = tmp_path / "derivatives" / "truth" / "sub-a" / "anat"
    with (folder / "sub-a_desc-lesion_dseg.tsv").open() as file:
        lesions = list(csv.DictReader(file, delimiter="\t"))
    seen = set(truth_of(tmp_path, "a", "desc-lesion_dseg")[0].unique().tolist()) - {0}
    assert {int(row["id"]) for row in lesions} == seen
    assert {row["kind"] for row in lesions} >= {"ms"}
    assert all((float(row["chi"]) > 0) == (row["kind"] == "bleed") for row in lesions if row["chi"])


def test_what_makes_no_scan_is_said(tmp_path):
    for wrong, words in (
        ({"style": "philips"}, "style"),
        ({"subject": "a_b"}, "BIDS label"),
        ({"shape": (4, 40, 40)}, "at least 8"),
        ({"echo_times_s": (0.02, 0.01)}, "must rise"),
        ({"echo_times_s": (5, 12)}, "half a second"),
    ):
        with pytest.raises(InputError, match=words):
            simulate(tmp_path, **({"subject": "a"} | COARSE | wrong))
    assert not list(tmp_path.iterdir())
    simulate(tmp_path, "a", **COARSE)
    with pytest.raises(InputError, match="there already"):
        simulate(tmp_path, "a", **COARSE)
    simulate(tmp_path, "a", overwrite=True, **COARSE)


def test_a_listener_hears_and_can_stop(tmp_path):
    heard = []
    simulate(tmp_path, "a", progress=heard.append, **COARSE)
    assert heard == sorted(heard)
    assert (heard[0], heard[-1]) == (0.0, 1.0)

    def stop(fraction):
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, "b", progress=stop, **COARSE)
    assert not list(tmp_path.glob("**/sub-b*"))
