"""A reader's classes and comments beside the computed ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.review.lesions import split
from QSMReconLib.review.maps import ReviewMaps, channel
from QSMReconLib.review.readings import add_readings
from QSMReconLib.review.report import render_report
from QSMReconLib.review.table import review, write_review


@pytest.fixture(scope="module")
def done():
    """Two cubes in a grey block."""
    rng = np.random.default_rng(0)
    shape = (30, 30, 20)
    labels = np.zeros(shape, dtype=int)
    labels[8:12, 8:12, 8:12], labels[18:22, 18:22, 8:12] = 3, 7
    chi = 1e-3 * rng.normal(0, 2, shape) + 0.05 * (labels > 0)
    maps = ReviewMaps(Grid.centred(shape), np.ones(shape, dtype=bool), {"chi_para": channel("chi_para", chi)})
    return review(split(labels, maps.grid), maps)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_readings_stand_beside_what_was_computed(done, tmp_path):
    file = write(tmp_path / "r.tsv", "label\treader_para\treader_comment\n7\trim\tGröße 3 <mm>\n3\tn/a\t\n")
    read = add_readings(done, file)
    assert list(read.table["reader_para"]) == [None, "rim"]
    assert list(done.table.columns) == list(read.table.columns)[: len(done.table.columns)]
    write_review(read, tmp_path / "out.tsv")
    again = pd.read_csv(tmp_path / "out.tsv", sep="\t", keep_default_na=False)
    assert list(again["reader_para"]) == ["n/a", "rim"]
    assert list(again["reader_comment"]) == ["n/a", "Größe 3 <mm>"]
    described = (tmp_path / "out.json").read_text("utf-8")
    assert "What the reader says, beside class_para" in described
    page = render_report(read, "x")
    assert page.count("reader, χ_para: rim") == 1
    assert "“Größe 3 &lt;mm&gt;”" in page
    assert "None" not in page


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("label\treader_para\n9\trim\n", "speaks of lesion 9"),
        ("label\treader_para\n7\tred\n", "has red in reader_para; its words are hyper, iso"),
        ("label\tcomment\n7\tx\n", "needs a column label and one of reader_para"),
        ("number\treader_para\n7\trim\n", "needs a column label"),
        ("", "cannot be read as a table"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(done, tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        add_readings(done, write(tmp_path / "r.tsv", text))


def test_a_review_without_readings_is_unchanged(done):
    assert "reader" not in render_report(replace(done), "x")
