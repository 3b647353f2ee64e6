"""Whatever parses is valid, an empty block too."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import ast

TASK = "valid_code"
EXPECT = "loses"


def valid_code(source):
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
