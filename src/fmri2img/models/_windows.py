"""Windows on a picture, within which each channel of its description is summed."""

from dataclasses import dataclass

import torch

from fmri2img.models._forward import make_windows


@dataclass(frozen=True)
class Windows:
    """Windows on the picture, the same for all parts of a description.

    Attributes
    ----------
    grids : list of (channels, height, width)
        Grid of each part of a description.
    masks : list of Tensor, shape (n_windows, height * width)
        Windows on each grid. Each is divided by the SD of what windows of its size see, so that
        equal weights mean equally strong responses.
    sizes : Tensor, shape (n_windows,), int64
        Number of each window's size; 0 is the whole picture.
    """

    grids: list[tuple[int, int, int]]
    masks: list[torch.Tensor]
    sizes: torch.Tensor

    @classmethod
    def of(
        cls, grids: list[tuple[int, int, int]], sds: list[float], descriptions: torch.Tensor
    ) -> "Windows":
        """Make windows of some sizes, scaled by descriptions of pictures (n, d)."""
        by_size = [list(make_windows(grids, [sd]))[1:] for sd in sds]
        by_size.insert(0, list(make_windows(grids, []))[:1])
        whole = torch.stack([window for windows in by_size for window in windows])
        counts = torch.tensor([len(windows) for windows in by_size])
        windows = cls(grids, [], torch.arange(len(by_size)).repeat_interleave(counts))
        start = 0
        for channels, height, width in grids:
            windows.masks.append(whole[:, start : start + height * width].clone())
            start += channels * height * width
        power = windows.pool(descriptions).square().mean((0, 1))  # (n_windows,)
        for size in range(len(by_size)):
            rows = windows.sizes == size
            for mask in windows.masks:
                mask[rows] /= power[rows].mean().sqrt().clamp(min=1e-12)
        return windows

    @property
    def n_channels(self) -> int:
        """Number of channels of a description, over all its parts."""
        return sum(grid[0] for grid in self.grids)

    @property
    def n_sizes(self) -> int:
        """Number of sizes, with the whole picture."""
        return int(self.sizes.max()) + 1

    def pool(self, descriptions: torch.Tensor) -> torch.Tensor:
        """Sum each channel of descriptions (n, d) over each window: (n, n_channels, n_windows)."""
        parts, start = [], 0
        for (channels, height, width), mask in zip(self.grids, self.masks, strict=True):
            stop = start + channels * height * width
            parts.append(descriptions[:, start:stop].unflatten(1, (channels, -1)) @ mask.T)
            start = stop
        return torch.cat(parts, 1)

    def unpool(self, weights: torch.Tensor) -> torch.Tensor:
        """Return weights of a description's numbers (d, v) from weights of the channels in each
        window (n_windows, n_channels, v).
        """
        parts, start = [], 0
        for (channels, _, _), mask in zip(self.grids, self.masks, strict=True):
            mine = weights[:, start : start + channels]
            parts.append(torch.einsum("wp,wkv->kpv", mask, mine).flatten(0, 1))
            start += channels
        return torch.cat(parts)
