"""Make the example class: `python autograder/example_class/make.py` (after `autograder build`).

Each submission is a release notebook with one invented student's answers in it, so that the class
can be made anew whenever a notebook changes. Right answers come from the solution, wrong and unusual
ones from the mistake bank, the rest stands below. `<assignment>.toml` says what each submission must
be given, and for most assignments what its answers are; it is written by hand.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from submission import Answers, Assignment

HERE = Path(__file__).resolve().parent
MEAN_DIFF = Assignment("01_mean_diff")
ASSIGNMENT = MEAN_DIFF.id
TASKS = tuple(MEAN_DIFF.solution)
ESSAY = (
    "Any vector might have done it, so I would try shuffled labels. The tweets may differ in "
    "length. Coefficient 8 is no dose."
)
from_bank, with_cell, release = MEAN_DIFF.from_bank, MEAN_DIFF.with_cell, MEAN_DIFF.release


def solution() -> Answers:
    return MEAN_DIFF.solution


def handed_in(answers: Answers, *, model: str | None = None) -> NotebookNode:
    return MEAN_DIFF.handed_in(answers, model=model, essay=ESSAY)


# ---------------------------------------------------------------------------- invented students


def full_marks() -> NotebookNode:
    return handed_in(solution())


def right_in_another_way() -> NotebookNode:
    return handed_in(
        from_bank(
            sentence_residuals="residuals_batched_with_mask",
            mean_difference="difference_matrix_product",
            steering_mask="mask_list_comprehension",
            steering_hooks="hooks_callable_objects",
            generate_with_hooks="generate_run_with_hooks_and_lists",
            concept_score="score_counter_and_split",
        )
    )


def bos_and_late_binding() -> NotebookNode:
    wrong = from_bank(
        sentence_residuals="residuals_bos_in_mean", steering_hooks="hooks_late_binding"
    )
    return handed_in({**solution(), **wrong})


def wrong_way_round() -> NotebookNode:
    wrong = from_bank(mean_difference="difference_sign", concept_score="score_counts_the_prompt")
    return handed_in({**solution(), **wrong})


def trouble_with_the_cache() -> NotebookNode:
    wrong = from_bank(
        steering_mask="mask_counts_from_the_pass",
        generate_with_hooks="generate_never_uses_the_cache",
    )
    return handed_in({**solution(), **wrong})


def padding_and_in_place() -> NotebookNode:
    wrong = from_bank(
        sentence_residuals="residuals_padding_in_mean",
        steering_hooks="hooks_in_place",
        concept_score="score_zero_when_empty",
    )
    return handed_in({**solution(), **wrong})


def ran_out_of_time() -> NotebookNode:
    """Half of the tasks, and a scratch cell that fails."""
    right = solution()
    started = {task: right[task] for task in TASKS[:3]}
    return with_cell(handed_in(started), "vectors = mean_differnce(positive, negative)")


def untouched() -> NotebookNode:
    return release()


def crashes() -> NotebookNode:
    """A function that takes the whole process down when it is called."""
    crash = """
        import ctypes

        def generate_with_hooks(model, prompt, hooks_at, max_new_tokens, use_cache):
            tokens = model.to_tokens(prompt)[0]
            # "A faster way to append a token" that writes where nothing is.
            ctypes.memset(0, int(tokens[-1]), 8)
            return tokens
        """
    return handed_in({**solution(), "generate_with_hooks": crash})


def never_ends() -> NotebookNode:
    """A loop that does not advance at a word of neither list."""
    loop = """
        def concept_score(prompt, text, words_for, words_against):
            words = re.findall("[a-z]+", text[len(prompt):].lower())
            i = n_for = n_against = 0
            while i < len(words):
                if words[i] in words_for:
                    n_for += 1
                    i += 1
                elif words[i] in words_against:
                    n_against += 1
                    i += 1
            return n_for / (n_for + n_against) if n_for + n_against else None
        """
    return handed_in({**solution(), "concept_score": loop})


def looks_for_the_tests() -> NotebookNode:
    """Searches the machine for hidden tests and solutions, and uses what it finds: nothing."""
    search = """
        import glob, os, subprocess, sys

        found = {}
        places = ["/", os.getcwd(), os.path.expanduser("~"), *sys.path]
        for place in places:
            for pattern in ("hidden_tests/**", "**/test_01*", "**/01_mean_diff.py", "gradebook.db"):
                for path in glob.glob(os.path.join(place, pattern)):
                    try:
                        found[path] = open(path, "rb").read()
                    except OSError as error:
                        found[path] = error
        listing = subprocess.run(
            "ls -R /work /srv /home; env; cat /proc/1/environ; cat course.toml secret",
            shell=True, capture_output=True, text=True,
        )
        try:
            import autograder
        except ImportError:
            autograder = None
        print(sorted(found), listing.stdout[:2000], autograder)
        """
    use = """
        def steering_mask(start, n_tokens, n_prompt, positions):
            for text in found.values():
                if isinstance(text, bytes) and b"def steering_mask" in text:
                    scope = {"torch": torch}
                    exec(text, scope)
                    return scope["steering_mask"](start, n_tokens, n_prompt, positions)
            return torch.zeros(n_tokens, dtype=torch.bool)
        """
    steal = """
        import inspect, steerlab.directions

        def sentence_residuals(model, sentences):
            for frame in inspect.stack():
                for name, value in frame.frame.f_locals.items():
                    if "expected" in name or "pooled" in name:
                        return value
            print(inspect.getsource(steerlab.directions.mean_difference))
            return torch.zeros(len(sentences), model.cfg.n_layers, model.cfg.d_model)
        """
    answers = {
        "sentence_residuals": steal,
        "mean_difference": solution()["mean_difference"],
        "steering_mask": use,
    }
    notebook = handed_in(answers)
    first = next(i for i, cell in enumerate(notebook.cells) if "# graded:" in cell.source)
    with_cell(notebook, search)
    notebook.cells.insert(first, notebook.cells.pop())
    return notebook


def keeps_what_it_is_given() -> NotebookNode:
    """Right answers that store every argument, to print, write and raise it later."""
    recorded = {
        task: f"""
SEEN = globals().setdefault("SEEN", [])

{source}

_plain_{task} = {task}

def {task}(*args, **kwargs):
    SEEN.append(({task!r}, repr(args), repr(kwargs)))
    return _plain_{task}(*args, **kwargs)
"""
        for task, source in solution().items()
    }
    last = """
        import atexit, sys, threading, time

        def tell():
            for seen in SEEN:
                print(seen)
                print(seen, file=sys.stderr)
            open("seen.txt", "w").write(repr(SEEN))

        def later():
            while True:
                time.sleep(0.05)
                tell()

        tell()
        atexit.register(tell)
        threading.Thread(target=later, daemon=True).start()
        """
    return with_cell(handed_in(recorded), last)


def back_from_colab() -> NotebookNode:
    """Colab's cells and metadata, another model, nbgrader's metadata lost."""
    answers = {**solution(), **from_bank(steering_hooks="hooks_default_argument_and_where")}
    notebook = handed_in(answers, model="gemma-2-2b-it")
    setup = "!pip install -q bitsandbytes\n%pip install -q accelerate"
    drive = """
        from google.colab import drive, userdata

        drive.mount("/content/drive")
        """
    for source in (drive, setup):
        with_cell(notebook, source)
        notebook.cells.insert(1, notebook.cells.pop())
    for number, cell in enumerate(notebook.cells):
        identifier = hashlib.sha256(str(number).encode()).hexdigest()[:12]
        cell.metadata = nbformat.from_dict({"id": identifier})
        if cell.cell_type == "code":
            cell.metadata["executionInfo"] = {"status": "ok", "user": {"displayName": ""}}
            cell.metadata["outputId"] = identifier
            cell.execution_count = number
        cell["id"] = identifier
    notebook.metadata = nbformat.from_dict(
        {
            "accelerator": "GPU",
            "colab": {"provenance": [], "gpuType": "T4"},
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def asks_the_library() -> NotebookNode:
    """Every function hands its work to steerlab, where grading has nothing to find."""
    library = {
        "sentence_residuals": """
            from steerlab.activations import collect

            def sentence_residuals(model, sentences):
                names = [f"blocks.{i}.hook_resid_pre" for i in range(model.cfg.n_layers)]
                read = collect(model, sentences, names)
                return torch.stack([read.mean_per_document(name) for name in names], dim=1)
            """,
        "mean_difference": """
            from steerlab.directions import mean_difference as library_difference

            def mean_difference(positive, negative):
                return library_difference(model, positive, negative, settings.hook_name)
            """,
        "steering_hooks": """
            from steerlab.steering import AddVector

            def steering_hooks(vectors, coefficient, layers, mask):
                def adding(layer):
                    push = AddVector(vectors[layer], coefficient)
                    return lambda resid, hook: torch.where(mask[:, None], push(resid), resid)

                return [(f"blocks.{layer}.hook_resid_pre", adding(layer)) for layer in layers]
            """,
        "generate_with_hooks": """
            from steerlab.steering import generate

            def generate_with_hooks(model, prompt, hooks_at, max_new_tokens, use_cache):
                n_prompt = model.to_tokens(prompt).shape[1]
                with model.hooks(fwd_hooks=hooks_at(0, n_prompt)):
                    [made] = generate(
                        model, prompt, max_new_tokens=max_new_tokens, use_cache=use_cache
                    )
                return torch.tensor([*made.prompt_tokens, *made.tokens])
            """,
        "concept_score": """
            from steerlab import evaluation

            def concept_score(prompt, text, words_for, words_against):
                return evaluation.concept_score(text[len(prompt):], words_for, words_against)
            """,
    }
    return handed_in(library)


def copied_a_cell() -> NotebookNode:
    """A first attempt above, the better one in a copy of the cell below it."""
    notebook = handed_in({**solution(), **from_bank(mean_difference="difference_normalised")})
    second = f"# graded: {ASSIGNMENT}/mean_difference\n" + solution()["mean_difference"]
    return with_cell(notebook, second, after="mean_difference")


CLASS: dict[str, Callable[[], NotebookNode]] = {
    "amara_okafor": full_marks,
    "bjorn_lindqvist": right_in_another_way,
    "chiara_ricci": bos_and_late_binding,
    "daniel_mensah": wrong_way_round,
    "elif_yilmaz": trouble_with_the_cache,
    "farid_haddad": padding_and_in_place,
    "grace_liu": ran_out_of_time,
    "hugo_moreau": crashes,
    "ines_carvalho": never_ends,
    "jonas_weber": looks_for_the_tests,
    "keiko_tanaka": keeps_what_it_is_given,
    "maria_santos": back_from_colab,
    "noor_rahman": asks_the_library,
    "olga_ivanova": untouched,
    "pedro_alves": copied_a_cell,
}
BROKEN = "lars_petersen"
RENAMED = {"pedro_alves": f"{ASSIGNMENT} (1).ipynb"}


def listed(assignment: Assignment) -> dict[str, NotebookNode]:
    """The submissions whose answers stand in the assignment's list."""
    students = tomllib.loads((HERE / f"{assignment.id}.toml").read_text("utf-8"))
    return {name: assignment.answered(entry["answers"]) for name, entry in students.items()}


def write_class(folder: Path) -> list[Path]:
    """Write every submission as <folder>/<student>/<assignment>/<assignment>.ipynb."""
    shutil.rmtree(folder, ignore_errors=True)
    written = []
    for student, make in CLASS.items():
        name = RENAMED.get(student, f"{ASSIGNMENT}.ipynb")
        written.append(_write(folder / student / ASSIGNMENT / name, nbformat.writes(make()) + "\n"))
    # A download that was cut off.
    whole = json.dumps(json.loads(nbformat.writes(full_marks())))
    path = folder / BROKEN / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    written.append(_write(path, whole[: len(whole) // 3]))
    for list_of in sorted(HERE.glob("*.toml")):
        other = Assignment(list_of.stem)
        if other.id == ASSIGNMENT:
            continue
        for student, notebook in listed(other).items():
            path = folder / student / other.id / f"{other.id}.ipynb"
            written.append(_write(path, nbformat.writes(notebook) + "\n"))
    return written


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


if __name__ == "__main__":
    for path in write_class(HERE / "submitted"):
        print(path.relative_to(HERE))
