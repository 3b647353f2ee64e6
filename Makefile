# The README's commands. Each first makes .venv, or leaves it alone when it is up to date.
.PHONY: demo test check build bench setup setup-test

demo: setup  ## grade the example class in a scratch course folder
	.venv/bin/autograder demo

test: setup-test  ## run all tests
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: setup-test  ## what authors change: types, notebooks on another model, example classes, hidden tests
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m check -n 2 --dist loadfile
	OMP_NUM_THREADS=1 .venv/bin/autograder validate --all --quick

build: setup  ## make assignments/ and the solution notebooks from solutions/*.py
	.venv/bin/autograder build

bench: setup  ## measure against the thresholds and against stock nbgrader
	.venv/bin/python -m benchmarks.embedded_model --quick
	.venv/bin/python -m benchmarks.grading --quick

setup:
	@./setup.sh

setup-test:
	@./setup.sh test
