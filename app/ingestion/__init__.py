"""The write path: what may enter (`limits`), and how it gets to a tier that keeps it."""
