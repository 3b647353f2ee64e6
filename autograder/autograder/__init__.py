"""The steerlab course's autograder: sandboxed kernels, hidden tests outside, nbgrader's gradebook."""

import sys
from pathlib import Path

# jsonschema would build a whole grammar of IRIs when it is imported, which takes two seconds; without
# that package it does not check the format "iri", which no notebook's schema asks for.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

#: Our page templates: what nbgrader's HTML exporter is pointed at.
TEMPLATES = str(Path(__file__).parent / "templates")
