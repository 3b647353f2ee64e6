"""One arena for all attacks: two sandboxes, started once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .arena import Arena


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with ExitStack() as stack:
        arena = Arena(tmp_path_factory.mktemp("arena"), stack)
        arena.open()
        yield arena
