"""The tools, one module a family; each registers what it has on a server."""
