"""The steerlab course's autograder: sandboxed kernels, hidden tests outside, nbgrader's gradebook."""

from pathlib import Path

#: Our page templates: what nbgrader's HTML exporter is pointed at.
TEMPLATES = str(Path(__file__).parent / "templates")
