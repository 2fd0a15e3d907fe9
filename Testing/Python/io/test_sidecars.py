"""What sidecars say, and from where they are inherited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from QSMReconLib.errors import InputError
from QSMReconLib.io.sidecars import (
    Sidecar,
    b0_direction,
    check_echo_times,
    check_field_strength,
    field_strength,
    read_sidecar,
    split_name,
)


def write(path: Path, **values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_the_deeper_and_the_more_specific_sidecar_wins(tmp_path: Path) -> None:
    anat = tmp_path / "sub-1" / "ses-2" / "anat"
    write(tmp_path / "MEGRE.json", MagneticFieldStrength=3, EchoTime=9, B0_dir=[0, 0, 1])
    write(tmp_path / "part-phase_MEGRE.json", Units="arbitrary")
    write(tmp_path / "sub-1" / "sub-1_echo-1_MEGRE.json", EchoTime=0.1)
    write(anat / "sub-1_ses-2_echo-1_MEGRE.json", EchoTime=0.005)
    write(anat / "sub-1_ses-2_MEGRE.json", EchoTime=0.2)
    write(anat / "sub-1_ses-2_echo-2_MEGRE.json", EchoTime=0.010)
    write(anat / "sub-1_ses-2_echo-1_T2starw.json", MagneticFieldStrength=1.5)
    write(tmp_path / "sub-2" / "sub-2_MEGRE.json", MagneticFieldStrength=7)

    sidecar = read_sidecar(anat / "sub-1_ses-2_echo-1_part-mag_MEGRE.nii.gz", tmp_path)
    assert sidecar.values == {"MagneticFieldStrength": 3, "EchoTime": 0.005, "B0_dir": [0, 0, 1]}
    assert sidecar.where == anat / "sub-1_ses-2_echo-1_MEGRE.json"
    assert tmp_path / "MEGRE.json" in sidecar.files
    phase = read_sidecar(anat / "sub-1_ses-2_echo-2_part-phase_MEGRE.nii", tmp_path)
    assert (phase.values["EchoTime"], phase.values["Units"]) == (0.010, "arbitrary")


def test_without_a_dataset_only_the_sidecar_beside_counts(tmp_path: Path) -> None:
    write(tmp_path / "gre_e1.json", EchoTime=0.004)
    write(tmp_path / "e1.json", EchoTime=0.009)
    assert read_sidecar(tmp_path / "gre_e1.nii.gz").values == {"EchoTime": 0.004}
    nothing = read_sidecar(tmp_path / "other.nii")
    assert (nothing.values, nothing.where) == ({}, tmp_path / "other.json")


@pytest.mark.parametrize("text", ["{", "[1, 2]", "\xff"])
def test_what_is_not_json_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"scan\.json"):
        read_sidecar(tmp_path / "scan.nii")


def test_numbers_may_stand_alone_or_in_a_list() -> None:
    sidecar = Sidecar({"a": 1, "b": [1, 2.5], "c": "0.005", "d": [], "e": True, "f": None}, where=Path("x.json"))
    assert (sidecar.numbers("a"), sidecar.numbers("b"), sidecar.numbers("f")) == ((1.0,), (1.0, 2.5), None)
    for key in "cde":
        with pytest.raises(InputError, match=rf"{key} in x\.json .* write a number"):
            sidecar.numbers(key)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((5.0, 12.0, 19.0), r"must be milliseconds: write seconds \(0.005, 0.012, 0.019\)"),
        ((0.005, 2.0), "must be milliseconds"),
        ((0.012, 0.005), "do not increase"),
        ((0.005, 0.005), "do not increase"),
        ((0.0, 0.005), "must be positive"),
        ((float("nan"),), "must be positive"),
    ],
)
def test_senseless_echo_times_are_refused_with_the_remedy(times, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        check_echo_times(times, "here.json")
    assert "here.json" in str(raised.value)


def test_sensible_echo_times_pass() -> None:
    check_echo_times((0.0005, 0.084, 0.3), "here")


def test_field_strength_is_stated_or_follows_from_the_frequency() -> None:
    megahertz = Sidecar({"ImagingFrequency": 123.2})
    assert field_strength([Sidecar(), Sidecar({"MagneticFieldStrength": 7}), megahertz]) == 7
    assert field_strength([Sidecar(), megahertz]) == pytest.approx(2.894, abs=1e-3)
    assert field_strength([Sidecar({"ImagingFrequency": 123.2e6})]) is None
    assert field_strength([Sidecar()]) is None
    for wrong in (30000, 0, -3):
        with pytest.raises(InputError, match="tesla"):
            field_strength([Sidecar({"MagneticFieldStrength": wrong})])
    check_field_strength(0.05, "here")


@pytest.mark.parametrize("key", ["B0_dir", "B0Direction"])
def test_the_direction_of_b0_may_be_stated(key: str) -> None:
    assert b0_direction([Sidecar(), Sidecar({key: [0, 1, 0]})]) == (0, 1, 0)
    assert b0_direction([Sidecar()]) is None
    for wrong in ([0, 0, 0], [1, 0]):
        with pytest.raises(InputError, match="no direction"):
            b0_direction([Sidecar({key: wrong})])


def test_names_have_entities_and_a_suffix() -> None:
    assert split_name("sub-1_acq-a_echo-10_MEGRE") == ({"sub": "1", "acq": "a", "echo": "10"}, "MEGRE")
    assert split_name("scan") == ({}, "scan")
