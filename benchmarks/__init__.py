"""Side-by-side measurements: `python -m benchmarks.<name> [--quick]`, last line one JSON object."""
