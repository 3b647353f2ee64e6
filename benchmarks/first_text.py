"""How long a student waits on Colab: from opening notebook 01 to the first steered text.

    python -m benchmarks.first_text

An environment is made that lacks what Colab lacks of steerlab and its requirements (by the facts that
autograder/tests/colab_packages.json holds) and has the rest. There the cells of the solution run in
order from the first, which installs steerlab with pip, to the one that writes steered texts. Both take
place twice, in two environments: the first time fills pip's cache. The last line is one JSON object:

    install_s         of the first cell: pip, with its cache warm
    model_s           of the cells from there to the loaded model
    first_text_s      from starting the kernel to the end of the cell that writes the first steered texts
    packages_added, packages_changed    by the first cell, steerlab itself counted
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

import nbformat
from autograder.course import load_course
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from packaging.utils import canonicalize_name

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "autograder" / "tests"))
from colab_packages import our_requirements, plan, read_facts

ASSIGNMENT, LAST_TASK = "01_mean_diff", "generate_with_hooks"
OURS = {"steerlab", "autograder"}
TARGET_S = 60


def name_of(package: Distribution) -> str:
    """A distribution's name, as pip compares them."""
    return str(canonicalize_name(package.metadata["Name"]))


def like_colab(folder: Path) -> tuple[Path, Path]:
    """An environment without what Colab lacks: its Python and its packages' folder."""
    added = [plan(our_requirements("pretrained"), runtime).added for runtime in read_facts()]
    left_out = OURS.union({"pip"}, *added)  # the environment has a pip of its own
    venv.create(folder, with_pip=True)
    python, site = folder / "bin" / "python", next(folder.glob("lib/python*/site-packages"))
    command = [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"]
    subprocess.run(command, check=True)  # Python 3.11 brings one that is older than Colab's
    for package in distributions():
        if name_of(package) in left_out:
            continue
        for file in package.files or []:
            place = site / file
            if ".." not in file.parts and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                have_too(place, Path(str(package.locate_file(file))))
    return python, site


def have_too(place: Path, file: Path) -> None:
    """The same file at another place, without a copy."""
    try:
        place.hardlink_to(file)
    except OSError:  # on another disk
        place.symlink_to(file)


def versions(site: Path) -> dict[str, str]:
    """{name: version} of the packages in a folder."""
    return {name_of(each): each.version for each in distributions(path=[str(site)])}


def notebook_to_the_first_text(library: Path, solution: Path) -> tuple[NotebookNode, list[int]]:
    """The solution with its first cell installing from `library`, and three of its cells: that one, the
    one that loads the model, and the first that writes steered texts.
    """
    notebook = nbformat.read(solution, as_version=4)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    first = notebook.cells[code[0]]
    before, _, rest = first.source.partition(" @ git+")
    first.source = before + f" @ file://{library}" + rest[rest.index('"') :]
    model = next(i for i in code if "load_model(" in notebook.cells[i].source)
    checked = next(i for i in code if f"check_{LAST_TASK}" in notebook.cells[i].source)
    text = next(i for i in code if i > checked and LAST_TASK in notebook.cells[i].source)
    return notebook, [code[0], model, text]


def seconds_to(python: Path, notebook: NotebookNode, stops: list[int], folder: Path) -> list[float]:
    """When each of the cells named is done, from the start of the kernel; kernel start included."""
    manager = AsyncKernelManager()
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv[0] = str(python)
    client = NotebookClient(
        notebook, km=manager, timeout=600, resources={"metadata": {"path": str(folder)}}
    )
    done = []
    started = time.perf_counter()
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells[: max(stops) + 1]):
            if cell.cell_type == "code":
                client.execute_cell(cell, index)
            if index in stops:
                done.append(time.perf_counter() - started)
    return done


def run(scratch: Path) -> dict[str, object]:
    """The figures of one environment."""
    course = load_course()
    solution = course.repository / "solutions" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    library = scratch / "lib"  # pip leaves what it builds beside the sources
    shutil.copytree(course.repository / "lib", library, ignore=shutil.ignore_patterns("tests"))
    notebook, stops = notebook_to_the_first_text(library, solution)
    python, site = like_colab(scratch / "environment")
    before = versions(site)
    installed, loaded, written = seconds_to(python, notebook, stops, scratch)
    after = versions(site)
    assert "steerlab" in after, "the first cell has installed nothing"
    assert "positive" in str(notebook.cells[stops[-1]].outputs)
    return {
        "install_s": round(installed, 1),
        "model_s": round(loaded - installed, 1),
        "first_text_s": round(written, 1),
        "packages_added": len(after.keys() - before.keys()),
        "packages_changed": sorted(name for name in before if after.get(name) != before[name]),
        "target_s": TARGET_S,
    }


def main() -> None:
    """Fill pip's cache, then measure, then print."""
    for purpose in ("to fill pip's cache", "measured"):
        with tempfile.TemporaryDirectory(prefix="steerlab-bench-") as scratch:
            figures = run(Path(scratch))
        print(f"{purpose}: {figures['first_text_s']} s", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
