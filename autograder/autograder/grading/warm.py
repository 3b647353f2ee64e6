"""Imported once, by the process that local workers are forked from: all that grading needs,
and the model that the course's hidden tests use.

One thread everywhere, and none running: a fork copies only the thread that makes it.
"""

from __future__ import annotations

import gc
import os

gc.disable()  # the search for garbage takes a tenth of the time of these imports

os.environ["OMP_NUM_THREADS"] = "1"  # for what is imported later, too

import distributed  # noqa: F401, E402

from ..sandbox import zygote  # noqa: E402
from . import run, work  # noqa: F401, E402

if name := os.environ.get("STEERLAB_PRELOAD"):
    zygote.one_thread()
    if name != zygote.TORCH_ALONE:
        from steerlab.models import preload

        preload(name)
gc.enable()
gc.collect()
gc.freeze()  # pages that the collector never touches stay shared with every worker
