"""What a review reads besides its maps: seeds, sidecars, the scan's magnitude; and its flags on the command line."""

import json

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from QSMReconLib.cli import main
from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.io.nifti import write_volume
from QSMReconLib.phantoms.closed_forms import sphere
from QSMReconLib.review.maps import ReviewMaps
from QSMReconLib.review.sources import find_lesions, read_seeds

GRID = Grid.centred((44, 44, 30), (1.0, 1.0, 1.5), (0.0, 0.2, 0.98))
CENTRE = (6.0, -4.0, 3.0)


def test_seeds_of_tables_and_of_slicer(tmp_path):
    table, points = tmp_path / "seeds.csv", tmp_path / "seeds.mrk.json"
    table.write_text("x,y,z\n1,2,3\n-4,5,6\n")
    assert read_seeds(table).tolist() == [[1, 2, 3], [-4, 5, 6]]
    drawn = {"coordinateSystem": "LPS", "controlPoints": [{"position": [-1, -2, 3]}, {"position": [4, -5, 6]}]}
    points.write_text(json.dumps({"markups": [drawn]}))
    assert read_seeds(points).tolist() == [[1, 2, 3], [-4, 5, 6]]
    table.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column x, y, z"):
        read_seeds(table)
    points.write_text(json.dumps({"markups": []}))
    with pytest.raises(InputError, match="no points"):
        read_seeds(points)


@pytest.fixture
def results(tmp_path):
    """A subject's results: a bleed of 2.5 mm in white matter, and the scan they came from."""
    rng = np.random.default_rng(0)
    chi, field = sphere(GRID, 2.5, 0.9, CENTRE)
    x, y, z = (np.arange(n) - (n - 1) / 2 for n in GRID.shape)
    brain = x[:, None, None] ** 2 + y[None, :, None] ** 2 + (1.4 * z[None, None, :]) ** 2 < 21**2
    anat, raw = tmp_path / "out" / "sub-1" / "anat", tmp_path / "raw" / "sub-1_echo-1_part-mag_MEGRE.nii.gz"
    noise = torch.from_numpy(rng.normal(0, 0.002, (5, *GRID.shape))).float()
    # Blooming and saturation: the map has half of the bleed.
    volumes = {
        "Chimap": 0.5 * chi - 0.012 + noise[0],
        "desc-para_Chimap": 0.5 * chi + 0.018 + noise[1],
        "desc-dia_Chimap": 0.03 + noise[2].abs(),
        "R2starmap": 20 + 40 * chi + 100 * noise[3],
        "desc-total_fieldmap": field + 0.002 * torch.from_numpy(x).float()[:, None, None] + noise[4],
        "desc-local_fieldmap": field + noise[4],
        "desc-noise_fieldmap": 0.002 + 1.0 * (chi > 0),
    }
    sidecar = {"MagneticFieldStrength": 3.0, "Seconds": {"r2starfit": 1.0}, "Inputs": [{"File": str(raw)}]}
    for name, volume in volumes.items():
        write_volume(anat / f"sub-1_{name}.nii.gz", volume * torch.from_numpy(brain), GRID)
        (anat / f"sub-1_{name}.json").write_text(json.dumps(sidecar))
    write_volume(anat / "sub-1_desc-brain_mask.nii.gz", torch.from_numpy(brain), GRID)
    # Background removal lost the bleed's neighbourhood.
    cut = torch.from_numpy(brain) & (torch.from_numpy(x)[:, None, None] < 0)
    write_volume(raw, 100 - 60 * (chi > 0.2).float(), GRID)
    return tmp_path, anat, cut


def test_everything_that_helps_is_found(results, capsys):
    folder, *_ = results
    seeds, out, page = folder / "seeds.tsv", folder / "t.tsv", folder / "r.html"
    seeds.write_text("x\ty\tz\n" + "\t".join(map(str, CENTRE)) + "\n")
    assert main(["lesions", str(folder / "out"), "--seeds", str(seeds), "-o", str(out), "--report", str(page)]) == 0
    row = pd.read_csv(out, sep="\t").iloc[0]
    true = 0.9 * 4 / 3 * np.pi * 2.5**3
    assert row["class_focal"] == "bleed"
    assert row["moment_by"] == "field"
    assert row["moment_ppm_mm3"] == pytest.approx(true, rel=0.1)
    assert row["moment_map_ppm_mm3"] < 0.7 * true
    described = json.loads(out.with_suffix(".json").read_text("utf-8"))
    # R2′ was not measured, as the sidecar tells; the only lesion is no plaque.
    assert described["Decay"]["lesions"] == 0
    assert any("R2′ was not measured" in text for text in described["Warnings"])
    assert "<b>magnitude</b>" in page.read_text("utf-8")
    capsys.readouterr()
    again = ["lesions", str(folder / "out"), "--seeds", str(seeds), "-o", str(out), "--overwrite"]
    assert main([*again, "--spin-echoes", "yes"]) == 0
    assert json.loads(out.with_suffix(".json").read_text("utf-8"))["Decay"] is None
    assert main([*again, "--lesions", str(seeds)]) == 2
    assert "not both" in capsys.readouterr().err
    assert main([*again, "--set", "focal_ppb=5000", "--set", "shell_mm=3 7"]) == 0
    described = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert (described["Thresholds"]["focal_ppb"], described["Measures"]["shell_mm"]) == (5000, [3, 7])
    assert pd.read_csv(out, sep="\t").iloc[0]["class_focal"] == "other"
    assert main([*again, "--set", "shell_mm=7 3"]) == 2
    assert "the nearer one first" in capsys.readouterr().err
    assert main([*again, "--set", "shells=3"]) == 2
    assert "no option 'shells'; it has floor_ppb" in capsys.readouterr().err


def test_what_background_removal_cut_off_still_has_its_moment(results, capsys):
    folder, anat, cut = results
    write_volume(anat / "sub-1_desc-local_mask.nii.gz", cut, GRID)
    lesions, out = folder / "lesions.nii.gz", folder / "t.tsv"
    write_volume(lesions, (sphere(GRID, 2.5, 1.0, CENTRE)[0] > 0.5).int(), GRID)
    assert main(["lesions", str(folder / "out"), "--lesions", str(lesions), "-o", str(out), "--progress", "none"]) == 0
    assert "Lesion 1 lies outside the mask of the maps" in capsys.readouterr().out
    row = pd.read_csv(out, sep="\t").iloc[0]
    assert (row["flags"], row["class_focal"], row["class_para"]) == ("outside the mask", "bleed", "undecided")
    assert row["moment_ppm_mm3"] == pytest.approx(0.9 * 4 / 3 * np.pi * 2.5**3, rel=0.1)


def test_lesions_are_read_from_whatever_holds_them(tmp_path):
    grid = Grid.from_affine((12, 11, 10), [[1, 0, 0, 9], [0, 1.2, -1.2, -3], [0, 0.9, 1.6, 4], [0, 0, 0, 1]])
    first, second = (np.zeros(grid.shape, dtype=np.int32) for _ in range(2))
    first[2:5, 3:6, 4:7] = 1
    second[4:8, 5:8, 4:7] = 1
    maps = ReviewMaps(grid, np.ones(grid.shape, dtype=bool), {})
    paths = [tmp_path / "one.nii.gz", tmp_path / "two.nii.gz"]
    for path, segment in zip(paths, (first, second), strict=True):
        write_volume(path, torch.from_numpy(segment), grid)
    many = find_lesions(paths, None, maps)
    assert sorted(many.segments.values()) == [1, 2]
    assert "4 voxels" not in many.remarks[0]
    assert f"{(first * second).sum()} voxels lie in more than one segment" in many.remarks[0]
    four = tmp_path / "four.nii.gz"
    write_volume(four, torch.from_numpy(np.stack([first, second])), grid)
    assert np.array_equal(find_lesions([four], None, maps).numbers, many.numbers)
    with pytest.raises(InputError, match="Give either"):
        find_lesions(paths, tmp_path / "seeds.tsv", maps)

    # As Slicer stores segments that overlap: layers, with a number for each segment in its layer.
    layers = np.stack([2 * first, 3 * second], axis=-1).transpose(2, 1, 0, 3)
    image = sitk.GetImageFromArray(layers.astype(np.uint8), isVector=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(grid.affine)
    image.SetSpacing(grid.voxel_size_mm)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / grid.voxel_size_mm).ravel().tolist())
    for index, value in enumerate((2, 3)):
        if index:
            image.SetMetaData(f"Segment{index}_Layer", str(index))
        image.SetMetaData(f"Segment{index}_LabelValue", str(value))
    slicers = tmp_path / "lesions.seg.nrrd"
    sitk.WriteImage(image, str(slicers))
    assert np.array_equal(find_lesions([slicers], None, maps).numbers, many.numbers)
    elsewhere = ReviewMaps(Grid.centred(grid.shape), maps.mask, {})
    with pytest.raises(InputError, match="another grid"):
        find_lesions([slicers], None, elsewhere)
    (tmp_path / "broken.nrrd").write_text("NRRD", encoding="ascii")
    with pytest.raises(InputError, match="damaged"):
        find_lesions([tmp_path / "broken.nrrd"], None, maps)
