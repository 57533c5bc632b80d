"""Kinds of numbers and names in ``params.yaml``, with the limits that hold for all of them."""

from typing import Annotated

from pydantic import Field, StringConstraints

# NumPy's and scikit-learn's seeds.
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
# Pictures, samples or rows at a time.
BatchSize = Annotated[int, Field(ge=1, le=1 << 20)]
# Weights are single precision.
Penalty = Annotated[float, Field(ge=1e-20, le=1e20)]
Folder = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$")]
WebAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\x00]+$")]
