"""How fast, beside how fast it could be: `python -m benchmarks --help`. Measures and prints; asserts nothing."""
