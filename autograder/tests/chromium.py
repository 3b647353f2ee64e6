"""A real browser for tests: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FLAGS = [
    *("--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
WIDE, NARROW = 1000, 360


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser. Skips the test where there is none, and fails it in CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        said = "chromium is not installed: run `sudo apt-get install chromium`"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield running
        finally:
            running.close()


def is_blank(png: bytes) -> bool:
    """Whether a screenshot shows next to nothing: one colour, or so few dark points as to be a frame."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB").resize((400, 400))
    colours = image.getcolors(maxcolors=400 * 400) or []
    most = max(count for count, _ in colours)
    return len(colours) < 20 or most > 0.995 * 400 * 400


def grave_errors(page: Any) -> list[str]:
    """What axe-core calls serious or critical on a page, each with its first element."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    assert isinstance(found, list)
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
