"""The module's rooms over the real scene, without the application and without widgets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer-test]'")

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "QSMRecon"), str(ROOT / "Testing")]

from standins.mrml import Scene, View  # noqa: E402


@pytest.fixture
def mrml() -> Iterator[Scene]:
    """An empty scene."""
    scene = Scene()
    yield scene
    scene.scene.Clear(True)


@pytest.fixture
def make_view(mrml: Scene) -> Iterator[Callable[..., View]]:
    """Makes views that render."""
    views = []

    def make(name: str, orientation: str = "Axial", size: tuple[int, int] = (400, 400)) -> View:
        views.append(View(mrml, mrml.view(name, orientation), size))
        return views[-1]

    yield make
    for view in views:
        view.close()


OBLIQUE = np.array([[0.1, -1.9, 0.3, 12.0], [1.4, 0.2, -0.4, -30.0], [0.2, 0.5, 2.4, 7.5], [0, 0, 0, 1]])
"""Columns permuted, flipped, oblique and anisotropic, made perpendicular below."""

_axes, _ = np.linalg.qr(OBLIQUE[:3, :3])
OBLIQUE[:3, :3] = _axes * np.array([1.5, 2.0, 2.5])
