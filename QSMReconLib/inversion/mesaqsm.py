"""χ by a network for one voxel size: the control of Meta-QSM."""

from __future__ import annotations

from ..networks.card import networks
from ..stage import option
from .qsmnet import QsmNet


class MesaQsm(QsmNet):
    """Mesa-QSM (arXiv:1908.00206): the network of Meta-QSM with fixed kernels, trained for one voxel size.

    Other voxels are resampled to its own, and B0 has to be along an axis of the volume. Research use only.
    """

    network: str = option("mesaqsm-0.76x0.76x3", "Which trained network", choices=networks("inversion", "mesaqsm"))
