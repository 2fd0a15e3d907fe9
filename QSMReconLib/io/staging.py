"""Results on disk, all of them or none.

Everything is first written into a hidden folder beside its destination and moved into place at the very end, so that a
run that fails, is cancelled or is killed leaves no half-written file behind. What a killed process could not take away
itself, the next one that writes to the same folder does.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

PREFIX = ".partial-"

ABANDONED_S = 24 * 3600.0
"""After which time the folder of a process that cannot be asked (of another computer, or on Windows) is abandoned."""


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """A hidden folder whose contents move into `folder` when the block ends well, and vanish when it does not, and
    with them the folders that were made for them."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_abandoned(folder)
        staging = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{_computer()}-{os.getpid()}-", dir=folder))
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror or error}. Choose another folder.") from error
    try:
        yield staging
        for path in sorted(item for item in staging.rglob("*") if item.is_file()):
            target = folder / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in made:
            try:
                path.rmdir()
            except OSError:  # Something is in it: it stays, and so do those around it.
                break


def refuse_overwriting(folder: Path, pattern: str, overwrite: bool) -> None:
    """Raises InputError if `folder` holds files of that pattern already, unless `overwrite`."""
    there = sorted(folder.glob(pattern))
    if there and not overwrite:
        raise InputError(f"{there[0]} is there already: choose another output folder, or add --overwrite.")


def clear_abandoned(folder: Path) -> None:
    """Remove what killed processes have left half-written in `folder`; what a living one writes there stays."""
    for path in folder.glob(f"{PREFIX}*"):
        if path.is_dir() and _abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def _abandoned(path: Path) -> bool:
    computer, _, rest = path.name.removeprefix(PREFIX).partition("-")
    process = rest.partition("-")[0]
    if computer == _computer() and process.isdecimal() and os.name != "nt":
        return not _alive(int(process))
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except OSError:  # It has gone meanwhile.
        return False


def _computer() -> str:
    return "".join(letter for letter in platform.node() if letter.isalnum()) or "here"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # Somebody else's.
        pass
    return True
