"""Sections of ``params.yaml`` for NSD and the simulated NSD."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fmri2img.project.config import PARAMS_PATH, Params
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.param_types import Seed


class NsdParams(Params):
    """Which files of NSD the project works on, and which of their responses."""

    func_space: Literal["func1pt8mm", "func1mm"]
    responses: Literal["betas", "timeseries"]
    beta_version: Literal["b1", "b2", "b3"]
    beta_format: Literal["hdf5", "nii.gz"]
    sessions: (
        Literal["all", "all_but_last_3"]
        | Annotated[list[Annotated[int, Field(ge=1, le=40)]], Field(min_length=1)]
    )
    rois: Literal["all"] | Annotated[list[str], Field(min_length=1)]

    def sessions_of(self, subject: str, n_held: int) -> list[int]:
        """Return the sessions to use for a subject who did ``n_held`` of them.

        Raises
        ------
        ConfigError
            If a named session does not exist for this subject.
        """
        if self.sessions == "all":
            return list(range(1, n_held + 1))
        if self.sessions == "all_but_last_3":
            return list(range(1, n_held - 2))
        if beyond := [session for session in self.sessions if session > n_held]:
            raise ConfigError(
                f"{PARAMS_PATH}: datasets: sessions names {beyond}, but {subject} did {n_held} "
                f"sessions; name sessions 1 to {n_held}, or say: all, all_but_last_3"
            )
        return sorted(set(self.sessions))


class SimulationParams(Params):
    """What the simulated NSD holds, its size and its seed."""

    seed: Seed
    volume_scale: Annotated[float, Field(gt=0.1, le=1)]
    n_visual_voxels: Annotated[int, Field(ge=20)]
    pictures: str
    world: str
    deep_share: Annotated[float, Field(ge=0, le=1)]
    beta_versions: Annotated[list[Literal["b1", "b2", "b3"]], Field(min_length=1)]
    beta_formats: Annotated[list[Literal["hdf5", "nii.gz"]], Field(min_length=1)]
    timeseries: bool


class BucketParams(Params):
    """The public bucket, or another S3 server that holds a copy."""

    bucket: str
    region: str
    endpoint_url: str | None
    part_mib: Annotated[int, Field(ge=1, le=1024)]


class RealNsdParams(NsdParams):
    """``datasets.nsd``: which of NSD's files, and where they come from."""

    source: Literal["s3", "local"]
    accept_nsd_terms: bool
    s3: BucketParams

    @model_validator(mode="after")
    def _terms_accepted(self) -> Self:
        if self.source == "s3" and not self.accept_nsd_terms:
            raise ValueError(
                "accept_nsd_terms: got false; read and accept NSD's terms "
                "(https://naturalscenesdataset.org: research and education only, no passing on of "
                "the data), then set it to true"
            )
        return self


class SimulatedNsdParams(NsdParams):
    """``datasets.simulated``: which of the simulated files, and what they hold."""

    simulation: SimulationParams

    @model_validator(mode="after")
    def _is_simulated(self) -> Self:
        simulation = self.simulation
        if self.responses == "timeseries" and not simulation.timeseries:
            raise ValueError(
                "responses: timeseries are not simulated; set simulation.timeseries to true"
            )
        if self.responses == "betas" and self.beta_version not in simulation.beta_versions:
            raise ValueError(
                f"beta_version: {self.beta_version} is not simulated; add it to "
                "simulation.beta_versions"
            )
        if self.responses == "betas" and self.beta_format not in simulation.beta_formats:
            raise ValueError(
                f"beta_format: {self.beta_format} is not simulated; add it to "
                "simulation.beta_formats"
            )
        return self
