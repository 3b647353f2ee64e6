"""Notebooks run unchanged on a second architecture: no cell holds a number of one model."""

from __future__ import annotations

import copy

import pytest
from autograder.build import read_source
from autograder.course import load_course
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

COURSE = load_course()


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """A random Qwen3, no BOS, other sizes, with the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("qwen3")
    tiny = COURSE.repository / "lib" / "steerlab" / "tiny" / "checkpoint"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(tiny))
    tokenizer.save_pretrained(str(folder))
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def kernel():
    """One kernel for all notebooks, emptied between them: what takes long to import stays."""
    manager, client = start_new_kernel(kernel_name="python3")
    yield manager
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.check
@pytest.mark.parametrize("assignment", COURSE.assignments.values(), ids=list(COURSE.assignments))
def test_every_cell_runs_on_a_random_qwen3(assignment, other_model, kernel):
    notebook = copy.deepcopy(read_source(COURSE, assignment))
    (choice,) = [cell for cell in notebook.cells if cell.source.startswith('MODEL = "tiny"')]
    choice.source = f"MODEL = {str(other_model)!r}"
    notebook.cells.insert(0, new_code_cell("%reset -f"))
    NotebookClient(notebook, km=kernel, timeout=300).execute()
