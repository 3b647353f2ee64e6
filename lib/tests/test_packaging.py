"""What is installed is what the repository holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

LIB = Path(__file__).parents[1]


def test_every_package_of_the_library_is_installed():
    listed = tomllib.loads((LIB / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    held = [str(p.parent.relative_to(LIB)).replace("/", ".") for p in LIB.rglob("__init__.py")]
    assert sorted(listed) == sorted(held)
