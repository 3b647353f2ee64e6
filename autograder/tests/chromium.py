"""A real browser for tests: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], folder: Path) -> Iterator[str]:
    """A server of this Python's with Jupyter's own files in a folder; the address that it prints."""
    variables = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    server = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
        cwd=folder,
    )
    assert server.stdout is not None
    said: list[str] = []
    try:
        for line in server.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1\S+", line):
                # A pipe that nobody empties would hold the server up.
                threading.Thread(target=server.stdout.read, daemon=True).start()
                wait_until_open(found[0])
                yield found[0]
                break
        else:
            raise AssertionError("".join(said)[-3000:])
    finally:
        server.terminate()
        server.wait(30)


def wait_until_open(address: str) -> None:
    """The address is printed a moment before the server listens."""
    host, port = address.split("/")[2].split(":")
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens at {address}")


def press_generate(page: Any) -> None:
    """Press the explorer's button, and wait for a text that was not there before with its measures."""
    page.evaluate(
        "document.querySelectorAll('.widget-html-content p').forEach(p => { p.dataset.old = 1; })"
    )
    page.get_by_role("button", name="Generate").click()
    page.wait_for_function(
        "[...document.querySelectorAll('button')].some(b => b.textContent == 'Generate' && !b.disabled)"
        " && document.querySelector('.widget-html-content p:not([data-old])')"
        " && document.body.innerText.includes('NLL (nats/token)')"
    )


def turn_up(slider: Any, beside: Any, steps: int) -> None:
    """Move a slider and wait for what the kernel writes beside it, once for each step.

    Several moves at once would arrive bundled, the last of them after the next click.
    """
    from playwright.sync_api import expect

    slider.focus()
    for _ in range(steps):
        before = beside.inner_text()
        slider.press("ArrowRight")
        expect(beside).not_to_have_text(before, timeout=60_000)


def is_blank(png: bytes) -> bool:
    """Whether a screenshot shows next to nothing: one colour, or so few dark points as to be a frame."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB").resize((400, 400))
    colours = image.getcolors(maxcolors=400 * 400) or []
    most = max(count for count, _ in colours)
    return len(colours) < 20 or most > 0.995 * 400 * 400


def keep(page: Any, name: str) -> bool:
    """Whether a page shows something. Its screenshot is kept where STEERLAB_SCREENSHOTS names a folder."""
    png = page.screenshot()
    if folder := os.environ.get("STEERLAB_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{name}.png").write_bytes(page.screenshot(full_page=True))
    return not is_blank(png)


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
