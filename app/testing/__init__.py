"""In-memory twins of the ports and a fixed clock: shipped for users' tests, imported by no product module."""
