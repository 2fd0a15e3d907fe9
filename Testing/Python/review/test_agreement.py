"""Agreement against published and hand-made numbers."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from QSMReconLib.cli import main
from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.io.nifti import write_volume
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
        compare(first.drop(columns="label"), second)


def test_readers_without_places_are_matched_by_label():
    computed = table([(0, 0, 0), (20, 0, 0), (40, 0, 0)], ["hyper", "iso", "rim"])
    reader = pd.DataFrame({"label": [3, 1, 9], "reader_para": ["rim", "iso", "iso"]})
    found = compare(computed, reader)
    assert (found.matched_by, set(found.pairs)) == ("label", {(1, 1), (3, 3)})
    assert (found.only_first, found.only_second) == ((2,), (9,))
    assert found.agreements[0].column == "class_para and reader_para"
    assert found.agreements[0].percent == 50
    with pytest.raises(InputError, match="no places"):
        compare(computed, reader, np.eye(4))
    with pytest.raises(InputError, match="nothing in common"):
        compare(reader, reader.rename(columns={"reader_para": "reader_dia"}))


def test_a_reader_against_the_computed_classes_of_one_table():
    both = table([(0, 0, 0), (20, 0, 0), (40, 0, 0)], ["hyper", "iso", "rim"])
    both["reader_para"] = ["hyper", None, "iso"]
    found = compare(both, both, who=("class", "reader"))
    # What the reader did not read counts nowhere.
    assert (found.agreements[0].lesions, found.agreements[0].percent) == (2, 50)
    assert found.differences == ()


def test_from_file_to_file_on_the_command_line(tmp_path, capsys):
    first = table([(0, 0, 0), (20, 5, 0), (40, 0, 9)], ["hyper", "iso", "rim"])
    turn = np.array([[0.0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 11], [0, 0, 0, 1]])
    second = first.assign(class_para=["hyper", "hypo", "rim"])
    second[["x", "y", "z"]] = first[["x", "y", "z"]].to_numpy() @ turn[:3, :3].T + turn[:3, 3]
    paths = [tmp_path / name for name in ("a.tsv", "b.tsv", "matrix.txt", "out.json", "out.html")]
    first.to_csv(paths[0], sep="\t", index=False)
    second.to_csv(paths[1], sep="\t", index=False)
    np.savetxt(paths[2], np.linalg.inv(turn))
    arguments = ["agreement", *map(str, paths[:2]), "--transform", str(paths[2]), "-o", str(paths[3])]
    assert main([*arguments, "--report", str(paths[4])]) == 0
    written = json.loads(paths[3].read_text("utf-8"))
    assert written["Classes"]["class_para"]["PercentAgreement"] == pytest.approx(200 / 3)
    assert written["Pairs"] == [[1, 1], [2, 2], [3, 3]]
    page = paths[4].read_text("utf-8")
    assert page.count("<circle") == 3
    assert "research use only" in page
    capsys.readouterr()
    assert main(arguments) == 2
    assert "there already" in capsys.readouterr().err
    np.savetxt(paths[2], 2 * np.eye(4))
    assert main([*arguments, "--overwrite"]) == 2
    assert "4×4" in capsys.readouterr().err
    paths[1].write_text("x\ty\n1\t2\n")
    assert main(["agreement", *map(str, paths[:2])]) == 2
    assert "no column label" in capsys.readouterr().err


def scan_of(folder, subject, para, seed):
    """Maps of a small head with two lesions, as a run leaves them, and their label map."""
    grid = Grid.centred((40, 36, 30))
    rng = np.random.default_rng(seed)
    at = np.indices(grid.shape)
    labels = np.zeros(grid.shape, dtype=np.int32)
    for number, x in ((1, 12), (2, 27)):
        labels[sum((a - c) ** 2 for a, c in zip(at, (x, 18, 15), strict=True)) <= 9] = number
    values = {"desc-para_Chimap": np.where(labels > 0, np.array([18.0, *para])[labels], 18.0), "Chimap": -12.0}
    anat = folder / subject / "anat"
    for name, value in values.items():
        noisy = torch.from_numpy(1e-3 * (value + rng.normal(0, 2, grid.shape))).float()
        write_volume(anat / f"{subject}_{name}.nii.gz", noisy, grid)
    return labels, grid


def test_many_scans_in_two_pipelines_are_one_command(tmp_path, capsys):
    first, second, drawn = (tmp_path / name for name in ("first", "second", "drawn"))
    for subject, paras in {"sub-a": ((45, 18), (45, 18)), "sub-b": ((18, 45), (18, 18))}.items():
        for seed, (folder, para) in enumerate(zip((first, second), paras, strict=True)):
            labels, grid = scan_of(folder, subject, para, seed)
        write_volume(drawn / subject / f"{subject}_desc-lesion_dseg.nii.gz", torch.from_numpy(labels), grid)
    out, tables = tmp_path / "agreement.json", tmp_path / "tables"
    pooled = ["agreement", str(first), str(second)]
    made = ["--lesions", str(drawn), "--tables", str(tables), "-o", str(out), "--progress", "none"]
    assert main([*pooled, *made]) == 0
    written = json.loads(out.read_text("utf-8"))
    assert written["Pairs"][0] == ["sub-a:1", "sub-a:1"]
    assert (written["Matched"], written["Classes"]["class_para"]["PercentAgreement"]) == (4, 75)
    # The same from the tables that are there now.
    again = tmp_path / "again.json"
    assert main(["agreement", str(tables / "first"), str(tables / "second"), "-o", str(again)]) == 0
    assert json.loads(again.read_text("utf-8"))["Classes"] == written["Classes"]
    capsys.readouterr()
    assert main([*pooled, "--lesions", str(drawn / "sub-a")]) == 2
    assert "no label map of the lesions of sub-b" in capsys.readouterr().err
    assert main(pooled) == 2
    assert "holds no table of lesions" in capsys.readouterr().err
    assert main([*pooled, "--tables", str(tables)]) == 2
    assert "give both" in capsys.readouterr().err
