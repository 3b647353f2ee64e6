"""The embedded model: how it is made (`python -m steerlab.tiny.train`) and where it lies."""

import json
from pathlib import Path
from typing import Any

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""The Hugging Face folder of the model that ships with the package."""

SAES = Path(__file__).parent / "saes"
"""A folder in SAELens's format, with feature labels, for each of its autoencoders."""

CAVS = Path(__file__).parent / "cavs.safetensors"
"""Its concept activation vectors."""

INTERFERENCE = Path(__file__).parent / "interference.json"
"""What one of its features does to everything else: the record of a whole sweep."""


def read_record(path: Path) -> tuple[dict[str, Any], str]:
    """(what a shipped JSON record holds, who made it when, as a figure's caption says it)."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return found, f"shipped, made by `{found['command']}` on {found['date']}"
