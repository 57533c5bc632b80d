"""Telling another service that a subject has another champion (``machine.champion_webhook``)."""

import json
import logging
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass

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
        Address of the version in the registry, by its number.
    previous : str
        Of the champion before; empty if there was none.
    reason : str
        In one line.
    """

    subject: str
    champion: str
    previous: str
    reason: str


def tell_service(change: ChampionChange) -> None:
    """POST a change as JSON to the address in ``params.yaml``, if there is one.

    A service that does not answer costs a warning: the registry is right all the same.
    """
    # A registry may also be looked after from elsewhere.
    url = load_params().machine.champion_webhook if PARAMS_PATH.exists() else None
    if url is None:
        return
    request = urllib.request.Request(  # noqa: S310 (http or https, by its type)
        url,
        json.dumps(asdict(change) | {"event": "champion"}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310
    except (urllib.error.URLError, OSError, ValueError) as error:
        log.warning(
            "%s: machine.champion_webhook was not told that %s is the champion of %s (%s)",
            url,
            change.champion,
            change.subject,
            error,
        )
