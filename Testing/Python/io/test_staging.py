"""All or nothing, and what killed processes leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from QSMReconLib.errors import InputError
from QSMReconLib.io.staging import ABANDONED_S, PREFIX, _computer, all_or_nothing, clear_abandoned

KILLED = """
import os, signal, sys
from pathlib import Path
from QSMReconLib.io.staging import all_or_nothing

with all_or_nothing(Path(sys.argv[1])) as staging:
    (staging / "half.nii.gz").write_bytes(b"half a file")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_all_appears_at_the_end(tmp_path: Path) -> None:
    with all_or_nothing(tmp_path / "a" / "b") as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "x.txt").write_text("x")
        assert not (tmp_path / "a" / "b" / "sub").exists()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["sub"]
    assert (tmp_path / "a" / "b" / "sub" / "x.txt").read_text() == "x"


def test_nothing_is_left_of_what_fails_not_even_its_folders(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(FileNotFoundError), all_or_nothing(tmp_path / "there" / "a" / "b") as staging:
        (staging / "absent" / "x.txt").write_text("x")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(InputError, match=r"cannot be written to: .* Choose another folder")
    with refused, all_or_nothing(tmp_path / "file"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(PREFIX)
    with all_or_nothing(tmp_path) as staging:
        assert not left.exists()
        (staging / "whole.txt").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.txt"]


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    with all_or_nothing(tmp_path) as one, all_or_nothing(tmp_path) as other:
        (one / "1").touch()
        (other / "2").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@pytest.mark.parametrize("name", ["elsewhere-1-abc", "abc", f"{_computer()}-old-abc"])
def test_where_nobody_can_be_asked_a_day_must_pass(tmp_path: Path, name: str) -> None:
    left = tmp_path / f"{PREFIX}{name}"
    left.mkdir()
    clear_abandoned(tmp_path)
    assert left.exists()
    then = time.time() - ABANDONED_S - 60
    os.utime(left, (then, then))
    clear_abandoned(tmp_path)
    assert not left.exists()
