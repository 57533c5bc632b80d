"""Numbers that are not finite, refused where they arise: later they would look like data."""

import torch

from fmri2img.project.exceptions import MismatchError


def refuse_not_finite(values: torch.Tensor, name: str, source: str) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    values : Tensor
        First axis: items.
    name : str
        What the items are, such as ``latents``.
    source : str
        What computed them.

    Raises
    ------
    MismatchError
        Naming how many items have such a number.
    """
    is_wrong = ~torch.isfinite(values).flatten(1).all(1)
    if is_wrong.any():
        raise MismatchError(
            f"{source} gave {name} with NaN or infinity ({int(is_wrong.sum())} of {len(values)} of "
            "a batch), expected finite numbers; check its weights against their source, and if it "
            "ran in float16, use float32"
        )
