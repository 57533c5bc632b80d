"""Telling another service that a subject has another champion (``machine.champion_webhook``)."""

import json
import logging
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from http.client import HTTPException
from urllib.parse import urlsplit

from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.params_file import load_params

_SECONDS = 10
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionChange:
    """What the service is told.

    Attributes
    ----------
    subject : str
    champion : str
        Address of the version in the registry, by its number; empty if there is none now.
    previous : str
        Of the champion before; empty if there was none.
    reason : str
        In one line.
    """

    subject: str
    champion: str
    previous: str
    reason: str


def service_to_tell() -> str | None:
    """Return the address in ``params.yaml``; None if there is none. To be asked before the registry
    changes: settings may be wrong.

    Raises
    ------
    ConfigError
        If ``params.yaml`` cannot be read.
    """
    # A registry may also be looked after from elsewhere.
    return load_params().machine.champion_webhook if PARAMS_PATH.exists() else None


def tell_service(url: str | None, change: ChampionChange) -> None:
    """POST a change as JSON to an address, if there is one.

    A service that does not answer costs a warning: the registry is right all the same.
    """
    if url is None:
        return
    request = urllib.request.Request(  # noqa: S310 (http or https, by its type)
        url,
        json.dumps(asdict(change) | {"event": "champion"}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        log.warning(
            "machine.champion_webhook: %s was not told of the champion of %s (%s)",
            urlsplit(url).hostname,  # the rest of such an address is often a secret
            change.subject,
            error,
        )
