"""Gradescope runs the grader too: a package to upload, and what runs in Gradescope's container.

There, new namespaces are usually forbidden: student code runs at the isolation level "uid".
"""
