"""One module a tool; `registry.TOOLS` names them all."""
