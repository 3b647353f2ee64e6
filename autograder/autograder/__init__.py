"""The steerlab course's autograder: sandboxed kernels, hidden tests outside, nbgrader's gradebook."""

import importlib.util
from pathlib import Path

#: Our page templates, and nbgrader's: what its HTML exporter is pointed at.
TEMPLATES = str(Path(__file__).parent / "templates")
_nbgrader = importlib.util.find_spec("nbgrader")
NBGRADER_TEMPLATES = str(
    Path(str(_nbgrader.origin if _nbgrader else "")).parent
    / "server_extensions/formgrader/templates"
)
