"""Every expression statement counts as bare, a call too."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import ast

TASK = "valid_code"
EXPECT = "loses"


def valid_code(source):
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(s, ast.Expr) for s in body)
