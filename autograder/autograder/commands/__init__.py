"""The words of the `autograder` command, one module each.

A module has HELP, `arguments(parser)`, and `run(options) -> int`, which returns the exit code. What
takes long to import is imported in `run`.
"""
