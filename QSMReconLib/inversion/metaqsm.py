"""χ by one network for every voxel size: its kernels are predicted from the scan's."""

from __future__ import annotations

from ..networks.card import networks
from ..stage import option
from .qsmnet import QsmNet


class MetaQsm(QsmNet):
    """Meta-QSM (arXiv:1908.00206): every kernel of the network is predicted from the voxel size, once for a scan.

    `metaqsm-phys` predicts kernels of the network between the data steps of `qsmnet-phys`, with whose weights it began.
    Voxels outside the range of a card that has one are resampled to the nearest inside. Research use only.
    """

    network: str = option("metaqsm-phys", "Which trained network", choices=networks("inversion", "metaqsm"))
