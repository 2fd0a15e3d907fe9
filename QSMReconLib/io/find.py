"""Finding scans in a folder, whatever they are stored as."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import bids, dicom
from .scan import ScanFiles


def find_scans(folder: Path, participants: Sequence[str] = ()) -> list[ScanFiles]:
    """Every scan below `folder`: those whose files are named as BIDS has it or, where there is none, in DICOM files.

    Raises InputError as `bids.find_scans` and `dicom.find_scans` do.
    """
    if folder.is_dir() and not bids.holds_images(folder):
        found = dicom.find_scans(folder, participants)
        if found:
            return found
    return bids.find_scans(folder, participants)
