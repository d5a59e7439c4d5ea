"""The base of all models of the two kinds, and the bounded scalar types they share.

The pressure: these models are the only source of the CRDs, of the embedded server's validation and of
the docs, so whatever the API server would refuse must be refused here with the same verdict. What must
stay true: names on the wire are camelCase, unknown fields are refused here (the API server prunes
them), numbers are never read from strings, and every string, list and map has a bound: the cost limit
of CEL rules needs it.
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
Bool = StrictBool
Name = Annotated[StrictStr, Field(min_length=1, max_length=63, pattern=NAME_PATTERN)]
Text = Annotated[StrictStr, Field(max_length=1024)]
Path = Annotated[StrictStr, Field(min_length=1, max_length=4096)]
Glob = Annotated[StrictStr, Field(min_length=1, max_length=256)]
Sha256 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Count = Annotated[StrictInt, Field(ge=0, le=1_000_000)]
Seconds = Annotated[StrictInt, Field(ge=1, le=7 * 24 * 3600)]
Priority = Annotated[StrictInt, Field(ge=-1000, le=1000)]
