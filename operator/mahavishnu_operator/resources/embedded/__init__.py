"""The embedded API: objects of our kinds in this process, on SQLite, with the API server's manners."""

from .resources import EmbeddedResources

__all__ = ["EmbeddedResources"]
