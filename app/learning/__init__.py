"""Learning from what happened: quality, outcomes, knowledge, patterns, experiments. Pure where it can be."""
