"""Notebook 03's widget in JupyterLab 4, as a student has it after running the cells above."""

from __future__ import annotations

import symtable
from pathlib import Path

import ipywidgets
import nbformat
import pytest
from chromium import WIDE, chromium, free_port, keep, serving, turn_up

SOLUTION = Path(__file__).parents[2] / "solutions" / "03_sae_clamping" / "03_sae_clamping.ipynb"
TOKEN = "a-student"
NOTIFICATIONS = "lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"


def up_to_the_widget(path: Path) -> nbformat.NotebookNode:
    """The notebook's cells that its explorer needs, found backwards from the names that they use."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    last = next(i for i, cell in enumerate(code) if "SteeringExplorer(" in cell.source)
    kept: list[nbformat.NotebookNode] = []
    needed: set[str] = set()
    for cell in reversed(code[: last + 1]):
        if cell.source.startswith("%") or "%pip" in cell.source:
            continue
        made, used = names_of(cell.source)
        if not kept or made & needed:
            kept.insert(0, cell)
            needed = (needed - made) | used
        cell.outputs, cell.execution_count = [], None
    notebook.cells = kept
    return notebook


def names_of(source: str) -> tuple[set[str], set[str]]:
    """Names that a cell makes for those below it, and all that it or its functions use from above."""
    cell = symtable.symtable(source, "cell", "exec")
    made = {s.get_name() for s in cell.get_symbols() if s.is_assigned() or s.is_imported()}
    used, tables = {s.get_name() for s in cell.get_symbols() if s.is_referenced()}, [cell]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        if table is not cell:
            used |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    return made, used


@pytest.mark.check
def test_notebook_03_in_jupyterlab_shows_its_widget_and_the_widget_works(tmp_path):
    assert ipywidgets.__version__.startswith("8.")
    settings = tmp_path / "config" / NOTIFICATIONS
    settings.parent.mkdir(parents=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    work = tmp_path / "work"
    work.mkdir()
    nbformat.write(up_to_the_widget(SOLUTION), work / "03.ipynb")
    port = free_port()
    command = [
        *("-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"),
        *(f"--ServerApp.root_dir={work}", f"--LabApp.workspaces_dir={tmp_path / 'workspaces'}"),
    ]
    with chromium() as browser, serving(command, tmp_path):
        page = browser.new_context(viewport={"width": WIDE, "height": 900}).new_page()
        page.set_default_timeout(180_000)
        page.goto(f"http://127.0.0.1:{port}/lab/tree/03.ipynb?token={TOKEN}")
        # The toolbar's own indicator says idle before there is a kernel, and cells sent then are lost.
        page.wait_for_selector(".jp-StatusBar-TextItem:has-text('(ipykernel) | Idle')")
        page.click("div.lm-MenuBar-itemLabel:has-text('Run')")
        page.click("div.lm-Menu-itemLabel:has-text('Run All Cells')")
        button = page.locator(".jp-OutputArea button:has-text('Generate')")
        button.wait_for()
        button.click()
        measures = page.locator(".jp-OutputArea td:has-text('NLL (nats/token)')")
        measures.wait_for()
        first = steered(page)
        coefficient = page.locator(".jp-OutputArea :text('coefficient'):visible").first
        turn_up(page.locator(".jp-OutputArea .noUi-handle").first, coefficient, steps=6)
        page.wait_for_selector(".jp-OutputArea .widget-readout:has-text('0.70')")
        button.click()
        page.wait_for_function(
            "[...document.querySelectorAll('.jp-OutputArea .widget-html-content p')]"
            ".some(p => p.previousElementSibling?.textContent.includes('dose +0.70'))",
        )
        assert steered(page) != first
        assert keep(page, "jupyterlab-03")


def steered(page):
    """The text on the explorer's right."""
    return page.locator(".jp-OutputArea .widget-html-content p").nth(1).inner_text()
