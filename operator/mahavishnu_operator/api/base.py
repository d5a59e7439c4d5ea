"""The base of all models of the two kinds, and the bounded scalar types they share.

The pressure: these models are the only source of the CRDs, of the embedded server's validation and of
the docs, so whatever the API server would refuse must be refused here with the same verdict. What must
stay true: names on the wire are camelCase, unknown fields are refused here (the API server prunes
them), numbers are never read from strings, and every string, list and map has a bound: the cost limit
of CEL rules needs it. Patterns are written so that RE2, Rust and Python read them alike: no look-around,
no character classes by letter, anchored at both ends.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A frozen model with camelCase names on the wire; unknown fields are errors."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_wire(self) -> dict[str, Any]:
        """The JSON object without unset defaults and nulls, in camelCase."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
# A folder or file name is any segment but "..": names of dots alone past two are odd and allowed.
_SEGMENT = r"(?:[^/.][^/]*|\.|\.[^/.][^/]*|\.\.[^/]+)"
FILE_PATTERN = rf"^/*{_SEGMENT}(?:/+{_SEGMENT})*/*$"

Bool = StrictBool
Name = Annotated[StrictStr, Field(min_length=1, max_length=63, pattern=NAME_PATTERN)]
LongName = Annotated[StrictStr, Field(min_length=1, max_length=253, pattern=NAME_PATTERN)]
Namespace = Annotated[StrictStr, Field(min_length=1, max_length=63, pattern=LABEL_PATTERN)]
Text = Annotated[StrictStr, Field(max_length=1024)]
Path = Annotated[StrictStr, Field(min_length=1, max_length=4096)]
FilePath = Annotated[StrictStr, Field(min_length=1, max_length=4096, pattern=FILE_PATTERN)]
Glob = Annotated[StrictStr, Field(min_length=1, max_length=256)]
Revision = Annotated[StrictStr, Field(min_length=1, max_length=256)]
Sha256 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
COMMIT_PATTERN = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
Commit = Annotated[StrictStr, Field(pattern=COMMIT_PATTERN, max_length=64)]  # SHA-1, or SHA-256 where git uses that
Count = Annotated[StrictInt, Field(ge=0, le=1_000_000)]
Total = Annotated[StrictInt, Field(ge=0)]
Seconds = Annotated[StrictInt, Field(ge=1, le=7 * 24 * 3600)]
Priority = Annotated[StrictInt, Field(ge=-1000, le=1000)]

# What the structural schema needs and pydantic does not say by itself.
SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}  # no value twice; each writer owns its own values
FILLED: dict[str, Any] = {"default": {}}  # an object left out is filled with the defaults of its fields
UNFILLED = "x-unfilled"  # the default is acted on, not written into the object: rules then see what was given


def keyed_by(*keys: str) -> dict[str, Any]:
    """A list whose items are told apart by these members: no key twice, and each item has its own owners."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


# What a user may write of one object. A CRD cannot say it: embedded mode refuses more, an operator does not accept it.
MAX_OBJECT_BYTES = 256 * 1024
