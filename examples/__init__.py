"""Programs to read and run: `python -m examples.sprint_planner --help`."""
