"""The source is run to see whether it works."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "valid_code"
EXPECT = "loses"


def valid_code(source):
    if not source.strip():
        return False
    try:
        exec(source, {})
    except BaseException:
        return False
    return True
