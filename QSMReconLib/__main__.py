"""`python -m QSMReconLib` is `qsmrecon`."""

import sys

from .cli import main

sys.exit(main())
