"""Who starts the workers: one module a backend, behind one protocol."""
