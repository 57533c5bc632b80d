"""On which machine goldens were made, and how far numbers may be off on another one."""

import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_info

# Of an array's spread: how far its mean, its SD and its sums with random signs may move on another
# processor.
TOLERANCE = 0.05
_N_SKETCHES = 3


def this_machine():
    """What decides last digits: the processor, the kernels that libraries chose for it, their
    versions, and the number of threads.
    """
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    blas = sorted(
        {
            f"{one['internal_api']} {one.get('architecture', '')}"
            for one in threadpool_info()
            if one["user_api"] == "blas"
        }
    )
    versions = {
        name: version(name)
        for name in (
            "numpy",
            "scipy",
            "torch",
            "himalaya",
            "h5py",
            "diffusers",
            "kornia",
            "scikit-image",
        )
    }
    return {
        "processor": models[0] if models else platform.processor(),
        "kernels": [*blas, f"torch {torch.backends.cpu.get_cpu_capability()}"],
        "threads": torch.get_num_threads(),
        "versions": versions,
    }


def describe(machine):
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['processor']} ({', '.join(machine['kernels'])}), {machine['threads']} "
        f"threads, {versions}"
    )


def sketch(values):
    """A few numbers that stand for an array where its bytes may differ: mean, SD, and sums with
    random signs over the root of n.
    """
    flat = np.asarray(values, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if not len(flat):
        return []
    rng = np.random.default_rng(0)
    signs = (rng.integers(0, 2, len(flat)) * 2.0 - 1 for _ in range(_N_SKETCHES))
    return [
        float(number)
        for number in (
            flat.mean(),
            flat.std(),
            *(flat @ sign / np.sqrt(len(flat)) for sign in signs),
        )
    ]


def close(one, other):
    """Whether two sketches are those of the same array but for rounding."""
    if len(one) != len(other):
        return False
    scale = max(abs(one[1]), abs(one[0]), 1e-6) if one else 1.0
    return all(abs(a - b) <= TOLERANCE * scale for a, b in zip(one, other, strict=True))
