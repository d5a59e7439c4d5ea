"""The queue, the leases and the HTTP service that workers call."""
