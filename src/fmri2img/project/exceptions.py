"""The errors a user can meet: each says what, where, got, expected and what to do, in one line."""


class Fmri2imgError(Exception):
    """Base of all errors that are reported to the user in one line."""


class ConfigError(Fmri2imgError):
    """A key or value in ``params.yaml`` is wrong."""


class MissingDataError(Fmri2imgError, FileNotFoundError):
    """A file is missing; the message ends with the command that makes or fetches it."""


class ChangedDataError(Fmri2imgError):
    """A raw file is no longer what its receipt recorded."""


class FormatError(Fmri2imgError, ValueError):
    """A file does not have the layout that its dataset or this project documents."""


class MismatchError(Fmri2imgError, ValueError):
    """Two inputs do not belong together (grids, sessions, ids, voxel counts)."""


class StageError(Fmri2imgError):
    """A stage has failed; the message names the stage and gives its own message."""


class UnavailableError(Fmri2imgError):
    """Something outside the project is not reachable: a hub, a server, a device."""
