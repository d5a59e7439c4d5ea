"""All that the tools of one scan said, on its way from the operator to the terminal of a person."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec

from .model import Plan, ToolReport, decode


@dataclass(frozen=True, slots=True)
class Answers:
    """What each tool said, and the plan (None: not known any more)."""

    reports: tuple[ToolReport, ...]
    plan: Plan | None = None


def encode_answers(answers: Answers) -> bytes:
    """JSON in ASCII, through which names pass that are not UTF-8."""
    return json.dumps(msgspec.to_builtins(answers), ensure_ascii=True, separators=(",", ":")).encode()


def decode_answers(data: bytes) -> Answers:
    """The inverse of encode_answers. ValueError on anything else."""
    return decode(data, Answers)
