"""Only SyntaxError is caught, and only the first statement is looked at."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import ast

TASK = "valid_code"
EXPECT = "loses"


def valid_code(source):
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    return bool(body) and not (
        isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Name | ast.Constant)
    )
