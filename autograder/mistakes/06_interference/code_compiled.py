"""Right: compiled to a tree, and looked at with a comprehension."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import ast

TASK = "valid_code"
EXPECT = "keeps"


def valid_code(source):
    try:
        tree = compile(source, "block", "exec", flags=ast.PyCF_ONLY_AST, dont_inherit=True)
    except Exception:
        return False
    rest = [
        s
        for s in tree.body
        if type(s) is not ast.Expr or type(s.value) not in (ast.Name, ast.Constant)
    ]
    return len(rest) > 0
