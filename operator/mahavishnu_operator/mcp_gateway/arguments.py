"""Types of arguments that several tools share; their words are what a model reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Id = Annotated[str, Field(max_length=200)]
PoolId = Annotated[
    str, Field(max_length=200, description="A pool as pool_spawn and pool_list name it: namespace/name.")
]
PoolIds = Annotated[list[Id], Field(max_length=200)]
JobId = Annotated[str, Field(max_length=200, description="A job as scan_submit and scan_list name it: namespace/name.")]
Workers = Annotated[int, Field(ge=0, le=1000)]
Seconds = Annotated[float, Field(gt=0, le=604_800, allow_inf_nan=False)]
Labels = Annotated[dict[str, str], Field(max_length=32)]
Words = Annotated[str, Field(max_length=1024)]
Prompt = Annotated[str, Field(description="`Execute: <program> <arguments>`, run without a shell.")]
