"""The rooms of the Slicer module, one file per concern. Only `QSMRecon.py` and these files import slicer, qt or ctk.

Nothing here computes: the library does, in a child process. `scan`, `exchange`, `review` and `lesions` know the
scene and no widgets; `job` and `setup` know processes and neither; the `*_panel` files are the widgets over them.
"""
