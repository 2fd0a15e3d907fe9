"""The doctor: everything that can be said about scans before any work.

Findings are of five levels.

- **error**: no reconstruction, or a wrong one. A file that is absent, damaged, cut short, not NIfTI, not of real
  numbers or two-dimensional; a singular or sheared affine; one echo or part on another grid than the first; NaN or
  infinity; an image that is zero or the same everywhere; magnitude without phase, or any part without its partner;
  different numbers of echoes; a magnitude below zero; echo times that are missing, not positive, not increasing, in
  milliseconds, or not the same beside both parts; a field strength that is missing or not in tesla; phase in a unit
  that cannot be told, or not in the same for all echoes; phase that is certainly high-pass filtered, or certainly of
  the opposite sign; a sidecar that is not JSON; DICOM slices that are missing, mixed or uneven; a mask that is empty
  or on another grid.
- **suspicious**: possible, but rarely meant. A header without orientation, or with two different ones; B0 far from the
  affine's; voxels below 0.05 or above 10 mm; a last echo after 0.25 s, or brighter than the first; phase that hardly
  differs from region to region, in a volume too small to tell why.
- **repaired**: phase in a unit other than radians; GE's alternating slices; a phase negated on request; spin echoes
  resampled to the gradient echoes.
- **missing**: fewer than three echoes, so no R2*.
- **found**: what there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..memory import free_bytes, in_words, need_of
from .assemble import assemble
from .files import load_mask
from .find import find_scans
from .scan import NOTHING_GIVEN, Finding, Given, Scan, ScanFiles


@dataclass(frozen=True)
class Examined:
    """One scan as the doctor sees it; `scan` is None where an error leaves nothing to work on."""

    name: str
    scan: Scan | None
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What stands in the way."""
        return tuple(finding for finding in self.findings if finding.level == "error")


def examine(
    folder: Path,
    participants: Sequence[str] = (),
    mask: Path | None = None,
    given: Given = NOTHING_GIVEN,
) -> Iterator[Examined]:
    """Examine the scans of a BIDS dataset, a subject's or a session's folder, or of DICOM files, one by one.

    Raises InputError, before the first, only where there is no scan at all.
    """
    found = find_scans(folder, participants)
    return (examine_files(files, mask, given) for files in found)


def examine_files(files: ScanFiles, mask: Path | None = None, given: Given = NOTHING_GIVEN) -> Examined:
    """Examine one scan, and a mask that is meant for it, and collect all that is wrong rather than the first."""
    scan, findings = assemble(files, given)
    need = need_of(files)
    if scan is not None and need is not None:
        findings.append(Finding("found", in_words(need, free_bytes())))
    if mask is not None and scan is not None:
        try:
            covered = float(load_mask(mask, scan.grid).voxels.float().mean())
            findings.append(Finding("found", f"The mask {mask} covers {100 * covered:.0f} % of the volume.", mask))
        except InputError as error:
            findings.append(Finding("error", str(error), mask))
    return Examined(files.name, scan, tuple(findings))
