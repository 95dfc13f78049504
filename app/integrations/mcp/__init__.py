"""The Model Context Protocol: a few tools for models, each one a call of the HTTP API.

Whatever the API checks (keys, permissions, namespaces, limits) holds here for the same reason it holds there.
"""
