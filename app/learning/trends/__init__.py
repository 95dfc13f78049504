"""How quality, latency and errors have been going."""
