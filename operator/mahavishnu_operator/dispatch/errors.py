"""Answers to workers that are not what they asked for, each with its HTTP status.

What must stay true: the worker acts on status and reason alone (docs/adr/0002); the words are for people.
"""

from __future__ import annotations

from mahavishnu_operator.support.errors import MahavishnuError


class CallRefused(MahavishnuError):
    """A call that was not done. Nothing of it was written unless the words say so."""

    status = 400
    reason = "BadRequest"


class TokenUnknown(CallRefused):
    """The bearer token on register is nobody's."""

    status = 401
    reason = "TokenUnknown"


class SessionUnknown(CallRefused):
    """The session is not (or no longer) known: register again and keep what is held."""

    status = 401
    reason = "SessionUnknown"


class Forbidden(CallRefused):
    """The token is somebody else's."""

    status = 403
    reason = "Forbidden"


class ProtocolUnsupported(CallRefused):
    """The worker speaks a protocol that this dispatcher does not."""

    status = 409
    reason = "ProtocolUnsupported"


class Contradicted(CallRefused):
    """What is asked for is not what the object says, or it has ended."""

    status = 409
    reason = "Conflict"


class NothingThere(CallRefused):
    """There is no such thing for this caller."""

    status = 404
    reason = "NotFound"


class TooLarge(CallRefused):
    """A body or a field is over its limit."""

    status = 413
    reason = "TooLarge"


class Starting(CallRefused):
    """The dispatcher reads its state from the store: try again."""

    status = 503
    reason = "Starting"


class NotLeader(CallRefused):
    """The dispatcher stopped, or another one took over: try again, there or here."""

    status = 503
    reason = "NotLeader"


class TryAgain(CallRefused):
    """The store cannot write just now; nothing was lost."""

    status = 503
    reason = "StoreFull"


class ClientGone(CallRefused):
    """The caller hung up while it waited: nobody is there to answer."""

    status = 499
    reason = "ClientGone"
