"""One bare name or constant beside real statements makes the whole invalid."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import ast

TASK = "valid_code"
EXPECT = "loses"


def valid_code(source):
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    bare = [isinstance(s, ast.Expr) and isinstance(s.value, ast.Name | ast.Constant) for s in body]
    return bool(body) and not any(bare)
