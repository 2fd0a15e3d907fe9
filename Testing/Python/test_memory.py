"""The prediction of memory: from headers alone, and said in time."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from QSMReconLib import memory
from QSMReconLib.cli import main
from QSMReconLib.io.files import files_of
from QSMReconLib.memory import BYTES_PER_VOXEL, START_BYTES, free_bytes, in_words, need_bytes, need_of


def write(path: Path, shape: tuple[int, ...]) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), path)
    return path


def test_the_need_grows_with_voxels_and_volumes(tmp_path: Path) -> None:
    one = write(tmp_path / "one.nii.gz", (10, 12, 14))
    four = write(tmp_path / "four.nii.gz", (10, 12, 14, 4))
    voxels = 10 * 12 * 14
    assert need_of(files_of([one], [one])) == START_BYTES + voxels * (8 * 2 + BYTES_PER_VOXEL)
    assert need_of(files_of([four], [four])) == START_BYTES + voxels * (8 * 8 + BYTES_PER_VOXEL)
    assert need_bytes([]) is None


def test_damaged_headers_are_for_the_reader_to_tell(tmp_path: Path) -> None:
    (tmp_path / "bad.nii").write_bytes(b"bad")
    assert need_of(files_of([tmp_path / "bad.nii"], [tmp_path / "absent.nii"])) is None


def test_what_is_free_is_known_here() -> None:
    free = free_bytes()
    assert free is None or 2**20 < free < 2**50


def test_a_shortage_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = write(tmp_path / "image.nii", (8, 8, 8))
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**29)
    given = ["--magnitude", str(image), "--phase", str(image), "-o", str(tmp_path / "out"), "--progress", "none"]
    assert main(["run", *given]) == 2  # It is all zero.
    assert "up to 0.6 GB of memory, more than the 0.5 GB that are free: close other programs" in capsys.readouterr().out


def test_a_need_that_is_met_is_one_sentence() -> None:
    assert in_words(2**31, 2**32) == "This scan will take up to 2.0 GB of memory."
    assert in_words(2**31, None) == "This scan will take up to 2.0 GB of memory."
