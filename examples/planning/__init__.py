"""A simulated company that plans sprints, and agents that plan for it."""
