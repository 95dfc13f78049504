"""The HTTP door: FastAPI over `HybridMemoryService`."""

from app.api.app import create_app

__all__ = ["create_app"]
