"""What all tests share: a process in which thousands of modules were imported to stay.

The search for garbage would walk through them again and again; what is there when the tests begin is
left out of it.
"""

from __future__ import annotations

import atexit
import gc

gc.disable()  # until everything is imported
atexit.register(gc.freeze)  # nor once more at the end


def pytest_collection_finish() -> None:
    """Everything is imported: from now on look for garbage, among what the tests make."""
    gc.freeze()
    gc.enable()
