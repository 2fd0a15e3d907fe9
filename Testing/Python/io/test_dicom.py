"""DICOM in: which slices are which echo, in every vendor's way of keeping phase, and a sentence for every mixture."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from QSMReconLib.data import GreData, SpinEchoData
from QSMReconLib.errors import InputError
from QSMReconLib.io.bids import load_scan
from QSMReconLib.io.find import find_scans
from QSMReconLib.io.preflight import examine

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

sys.path.insert(0, str(Path(__file__).parents[2]))

from standins.scanner import change, export, export_enhanced  # noqa: E402

from .conftest import ECHO_TIMES_S, FIELD_STRENGTH_T, Head  # noqa: E402


@pytest.fixture
def turned(head: Head) -> Head:
    """The head with other axes than right, anterior, superior, of 40 slices: rows and columns must not be mixed up."""
    affine = head.affine @ np.array([[0, 0, -1, 43], [1, 0, 0, 0], [0, -1, 0, 41], [0, 0, 0, 1.0]])
    signal = head.signal[:, ::-1, :, ::-1].transpose(0, 2, 3, 1)
    return Head(np.ascontiguousarray(signal), affine)


@pytest.fixture
def slab(head: Head) -> Head:
    """A few slices of it, for what is refused before any physics."""
    return Head(head.signal[..., 18:24], head.affine)


def expected(head: Head, dataset: Path) -> GreData:
    head.write(dataset / "sub-1" / "anat")
    return load_scan(find_scans(dataset)[0]).artifacts[GreData]


def errors(folder: Path) -> str:
    return " | ".join(finding.text for examined in examine(folder) for finding in examined.errors)


def same(gre: GreData, other: GreData) -> None:
    assert gre.grid.shape == other.grid.shape
    assert np.allclose(gre.grid.affine, other.grid.affine, atol=1e-4)
    assert np.allclose(gre.grid.b0_direction, other.grid.b0_direction, atol=1e-5)
    assert np.allclose(gre.echo_times_s, other.echo_times_s)
    assert gre.field_strength_t == other.field_strength_t
    one, two = (torch.polar(g.magnitude / g.magnitude.max(), g.phase_rad) for g in (gre, other))
    assert float((one - two).abs().max()) < 3e-3


def test_classic_files_are_what_the_same_scan_is_in_bids(turned: Head, tmp_path: Path) -> None:
    folder = tmp_path / "DICOM export ü"
    export(folder / "deep", turned.signal, turned.affine, ECHO_TIMES_S)
    (folder / "notes.txt").write_text("not DICOM")
    (files,) = find_scans(folder)
    assert (files.name, files.subject) == ("sub-Pat01", "Pat01")
    scan = load_scan(files)
    same(scan.artifacts[GreData], expected(turned, tmp_path / "bids"))
    assert [str(source).split(" in ")[0] for source, _ in scan.digests()] == [
        "series 5 (qsm gre, magnitude)",
        "series 6 (qsm gre, phase)",
    ]
    assert len({digest for _, digest in scan.digests()}) == 2


def test_an_enhanced_file_holds_the_same_scan(turned: Head, tmp_path: Path) -> None:
    export_enhanced(tmp_path / "one file", turned.signal, turned.affine, ECHO_TIMES_S)
    same(load_scan(find_scans(tmp_path / "one file")[0]).artifacts[GreData], expected(turned, tmp_path / "bids"))


@pytest.mark.parametrize("full", [4096.0, 1000 * np.pi, 180.0, np.pi])
def test_every_scale_of_phase(head: Head, tmp_path: Path, full: float) -> None:
    export(tmp_path / "d", head.signal, head.affine, ECHO_TIMES_S, phase_full=full, same_series=True)
    same(load_scan(find_scans(tmp_path / "d")[0]).artifacts[GreData], expected(head, tmp_path / "bids"))


def test_real_and_imaginary_parts_as_ge_keeps_them(head: Head, tmp_path: Path) -> None:
    flipped = head.signal * (-1.0) ** np.arange(head.signal.shape[3])
    paths = export(
        tmp_path / "ge", flipped, head.affine, ECHO_TIMES_S, ("real", "imag"), same_series=True,
        ImageType=["ORIGINAL", "PRIMARY", "OTHER"],
    )  # fmt: skip
    for index, path in enumerate(paths):
        file = pydicom.dcmread(path)
        file.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", 2 if index < len(paths) / 2 else 3)
        file.save_as(path)
    scan = load_scan(find_scans(tmp_path / "ge")[0])
    same(scan.artifacts[GreData], expected(head, tmp_path / "bids"))
    assert any("opposite sign, as GE stores it" in finding.text for finding in scan.findings)


def test_what_is_derived_is_left_aside_and_spin_echoes_are_found(head: Head, tmp_path: Path) -> None:
    export(tmp_path / "d" / "gre", head.signal, head.affine, ECHO_TIMES_S)
    export(
        tmp_path / "d" / "mip", head.signal[:1], head.affine, [0.02], ("magnitude",), 20,
        ImageType=["DERIVED", "SECONDARY", "MNIP"],
    )  # fmt: skip
    export(
        tmp_path / "d" / "se", abs(head.signal), head.affine, (0.01, 0.05, 0.09), ("magnitude",), 21,
        ScanningSequence="SE",
    )  # fmt: skip
    export(tmp_path / "d" / "t1", head.signal[:1], head.affine, [0.002], ("magnitude",), 2)
    (files,) = find_scans(tmp_path / "d")
    assert ["series 2 (qsm gre, magnitude)" in finding.text for finding in files.findings] == [True]
    scan = load_scan(files)
    assert scan.artifacts[SpinEchoData].echo_times_s == (0.01, 0.05, 0.09)


def test_two_acquisitions_are_two_scans(head: Head, tmp_path: Path) -> None:
    export(tmp_path / "d" / "a", head.signal, head.affine, ECHO_TIMES_S)
    export(tmp_path / "d" / "b", head.signal, head.affine, ECHO_TIMES_S, first_series=11)
    found = find_scans(tmp_path / "d")
    assert [files.name for files in found] == ["sub-Pat01_acq-series11", "sub-Pat01_acq-series5"]
    assert [(files.magnitude[0].series, files.phase[0].series) for files in found] == [(11, 12), (5, 6)]
    with pytest.raises(InputError, match="no scan of the participant '7'; it has Pat01"):
        find_scans(tmp_path / "d", ["7"])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda paths: paths[3].unlink(), "have 6 and 5 slices|slices are missing after"),
        (lambda paths: [p.unlink() for p in paths if "phase" in kind(p)], "without phase"),
        (lambda paths: [p.unlink() for p in paths if "magnitude" in kind(p)], "without magnitude"),
        (lambda paths: [p.unlink() for p in paths if kind(p) == "phase 22"], "3 echoes of the magnitude but 2"),
        (lambda paths: [change(p, EchoTime=None) for p in paths], "with the same echo time"),
        (lambda paths: [change(p, MagneticFieldStrength=None) for p in paths], "MagneticFieldStrength is missing in"),
        (lambda paths: change(paths[0], ImageOrientationPatient=[1, 0, 0, 0, 0, 1]), "in different directions"),
        (lambda paths: change(paths[0], SOPInstanceUID="1.2", Rows=8), "not all of one size"),
        (lambda paths: paths[5].write_bytes(paths[5].read_bytes()[:300]), "slices|damaged"),
    ],
)
def test_every_mixture_that_cannot_be_used_gets_a_sentence(
    slab: Head, tmp_path: Path, spoil: Callable[[list[Path]], Any], sentence: str
) -> None:
    paths = export(tmp_path / "d", slab.signal, slab.affine, ECHO_TIMES_S)
    spoil(paths)
    try:
        said = errors(tmp_path / "d")
    except InputError as error:
        said = str(error)
    assert re.search(sentence, said), said


def test_a_gap_that_all_echoes_share_is_found(slab: Head, tmp_path: Path) -> None:
    paths = export(tmp_path / "d", slab.signal, slab.affine, ECHO_TIMES_S)
    where = {path: float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in paths}
    gone = sorted(set(where.values()))[2]
    for path, position in where.items():
        if position == gone:
            path.unlink()
    assert "slices are missing after IM" in errors(tmp_path / "d")
    assert "the next is 8.0 mm away, the others 4.0 mm" in errors(tmp_path / "d")


def test_two_coils_in_one_series_are_refused(slab: Head, tmp_path: Path) -> None:
    paths = export(tmp_path / "d", slab.signal, slab.affine, ECHO_TIMES_S)
    for path in paths:
        shutil.copy(path, path.with_name(f"{path.name}-coil2"))
    assert "two images lie at the same place" in errors(tmp_path / "d")


def test_a_folder_of_other_dicom_files_says_so(slab: Head, tmp_path: Path) -> None:
    export(tmp_path / "d", slab.signal[:1], slab.affine, [0.02], ImageType=["DERIVED", "SECONDARY", "MPR"])
    with pytest.raises(InputError, match="holds 12 DICOM files, but no gradient echo that the scanner measured"):
        find_scans(tmp_path / "d")


def kind(path: Path) -> str:
    file = pydicom.dcmread(path)
    return f"{'phase' if 'P' in file.ImageType else 'magnitude'} {float(file.EchoTime):g}"


def test_the_command_line_takes_a_folder_of_dicom_files(
    head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from QSMReconLib.cli import main

    export(tmp_path / "d", head.signal, head.affine, ECHO_TIMES_S)
    assert main(["doctor", str(tmp_path / "d")]) == 0
    said = capsys.readouterr().out
    assert f"3 gradient echoes at 6, 14, 22 ms, {FIELD_STRENGTH_T:g} T" in said
    assert "Ready to run." in said
