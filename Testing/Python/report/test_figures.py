"""What the pictures of a report show, read back from the figure itself."""

from __future__ import annotations

import base64

import numpy as np

from QSMReconLib.report.figures import as_png, centre_of, histogram, slices


def test_slices_go_through_the_centre_with_the_right_of_the_patient_on_the_left() -> None:
    values = np.zeros((10, 12, 8), dtype=np.float32)
    values[7, 6, 4] = 1.0
    figure = slices(values, (1.0, 1.0, 2.0), (7, 6, 4), (0.0, 1.0), "ppm")
    axial, coronal, sagittal = (np.asarray(axis.images[0].get_array()) for axis in figure.axes[:3])
    assert axial.shape == (12, 10)
    assert axial[6, 9 - 7] == coronal[4, 9 - 7] == sagittal[4, 6] == 1
    assert list(figure.axes[1].images[0].get_extent()) == [0, 10, 0, 16]
    assert figure.axes[3].get_title() == "ppm"


def test_centre_is_the_middle_of_the_mask_or_of_the_volume() -> None:
    mask = np.zeros((11, 11, 11), dtype=bool)
    assert centre_of(mask) == (5, 5, 5)
    mask[2:5, 6:9, 0:3] = True
    assert centre_of(mask) == (3, 7, 1)


def test_figures_become_png() -> None:
    text = as_png(histogram(np.linspace(-0.1, 0.1, 1000, dtype=np.float32), (-0.1, 0.1), "ppm"))
    head = "data:image/png;base64,"
    assert text.startswith(head)
    assert base64.b64decode(text[len(head) :])[1:4] == b"PNG"
