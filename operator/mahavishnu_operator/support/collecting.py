"""What a server has made by the time it serves is left out of collections.

The pressure: a full collection walks every object there is, and modules, schemas and validators are 190,000 of them: a
tenth of a second in which no call is answered. What must stay true: what is made later is collected as ever. Nothing
is collected before: after the start there was no garbage among them.
"""

from __future__ import annotations

import gc


def settle() -> None:
    """Take what is there now for what stays until the end."""
    gc.freeze()
