"""`hybrid-memory bench`: conversations with gold evidence, through the front door of a service of its own."""
