"""How long a reader of `steerlab explore` waits: for the page, and for a text after a click.

    python -m benchmarks.explorer [--quick]

A real browser (Debian's chromium, driven by Playwright) opens the page of the embedded model, sets the
length to 30 tokens, and clicks Generate at one dose after another. The last line is one JSON object:

    page_s                from the command to the Generate button, model loaded
    click_to_text_s       from the click to the steered text and its measures; median
    slowest_click_s       the slowest of those clicks
    tokens                of each text; the first click at a prompt writes the unsteered one too
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "autograder" / "tests"))
from chromium import chromium, free_port, press_generate, serving

TOKENS = 30
LOADING, ANSWER = 180_000, 60_000  # milliseconds


def seconds_of_a_click(page: Any) -> float:
    """From the click on Generate to a steered text that was not there before."""
    started = time.perf_counter()
    press_generate(page)
    return time.perf_counter() - started


def clicks(page: Any, prompts: list[str], doses: int) -> list[float]:
    """Seconds of a click for each prompt and each of a few steps of the slider."""
    page.get_by_label("tokens").fill(str(TOKENS))
    found = []
    for prompt in prompts:
        page.get_by_label("prompt").fill(prompt)
        page.get_by_label("prompt").blur()
        for _ in range(doses):
            page.get_by_role("slider", name="dose").press("ArrowRight")
            found.append(seconds_of_a_click(page))
    return found


def main() -> None:
    """Open the page, click, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 clicks instead of 18")
    options = parser.parse_args()
    prompts = ["Write a haiku.", "The movie that I saw yesterday was", "In the evening we"]
    with tempfile.TemporaryDirectory(prefix="steerlab-bench-") as scratch, chromium() as browser:
        started = time.perf_counter()
        command = ["-m", "steerlab.cli", "explore", "--no-browser", "--port", str(free_port())]
        with serving(command, Path(scratch)) as address:
            page = browser.new_page(viewport={"width": 1000, "height": 900})
            page.goto(address, wait_until="commit")
            page.wait_for_selector("button:has-text('Generate')", timeout=LOADING)
            page_s = time.perf_counter() - started
            page.set_default_timeout(ANSWER)
            found = clicks(
                page, prompts[:2] if options.quick else prompts, 2 if options.quick else 6
            )
    figures = {
        "page_s": round(page_s, 1),
        "click_to_text_s": round(median(found), 2),
        "slowest_click_s": round(max(found), 2),
        "tokens": TOKENS,
        "clicks": len(found),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
