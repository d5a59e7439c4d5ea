"""The MCP gateway: agents drive WorkerPools and ScanJobs by tools (docs/adr/0020)."""
