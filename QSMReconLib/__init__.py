"""QSMRecon: quantitative susceptibility mapping, from multi-echo gradient echoes to χ. Research use only.

Importing this package is cheap: PyTorch and the readers load where they are used.
"""

__version__ = "0.1.0"
