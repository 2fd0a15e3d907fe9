"""What this computer can do for PyTorch, as one line of JSON. Run as a script in a child process: PyTorch must not be
imported into Slicer's own."""

from __future__ import annotations

import json
import os
import sys


def machine() -> dict[str, object]:
    """The version of PyTorch, the device it would use, and that device's memory in bytes."""
    import torch

    from QSMReconLib.memory import free_bytes

    found: dict[str, object] = {"event": "machine", "torch": torch.__version__, "device": "cpu", "name": "CPU"}
    found["cores"] = os.cpu_count()
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found |= {"device": "cuda:0", "name": torch.cuda.get_device_name(0), "free": free, "total": total}
    elif torch.backends.mps.is_available():
        found |= {"device": "mps", "name": "Apple GPU"}
    elif (free := free_bytes()) is not None:
        found |= {"free": free, "total": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")}
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(machine()) + "\n")
