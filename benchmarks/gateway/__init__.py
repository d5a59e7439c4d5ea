"""Benchmarks of the MCP gateway: what a call of an agent costs."""
