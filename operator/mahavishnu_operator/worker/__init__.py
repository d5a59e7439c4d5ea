"""The worker agent: the lease loop, and the runner that starts tools. Imports no kopf and no kubernetes."""
