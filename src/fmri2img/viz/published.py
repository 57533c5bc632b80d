"""Published scores on NSD, each with the test set it was measured on.

Low-level decoders (a blurry latent without a diffusion model) are the closest relatives; of the
others, two scores are known on both test sets. Sources: the metrics of MindEye1
(github.com/MedARC-AI/fMRI-reconstruction-NSD, issue 17; arXiv:2305.18274), Brain-Diffuser
(arXiv:2303.05334) and MindEye2 (arXiv:2403.11207, table 1, which recomputes the others on 1000
images).
"""

from fmri2img.evaluation.metrics.catalogue import published_metrics


def _scores(*values: float) -> dict[str, float]:
    """Return scores by metric from values in the usual order of such tables; some tables have only
    the first two.
    """
    return dict(zip(published_metrics(), values, strict=False))


# Data sources whose pages list these scores: they show the same pictures, or stand-ins for them.
BESIDE = ("nsd", "simulated")
# Name, test set, and scores by metric.
PUBLISHED: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("MindEye1 low-level, subj01", "982 images", _scores(0.456, 0.493)),
    (
        "MindEye2 low-level, mean of 4 subjects",
        "1000 images",
        _scores(0.399, 0.539, 0.705, 0.651, 0.529, 0.572, 0.984, 0.673),
    ),
    (
        "Takagi & Nishimoto, recomputed by MindEye2",
        "1000 images",
        _scores(0.246, 0.410, 0.789, 0.856, 0.838, 0.821, 0.811, 0.504),
    ),
    ("Brain-Diffuser, mean of 4 subjects", "982 images", _scores(0.254, 0.356)),
    (
        "Brain-Diffuser, recomputed by MindEye2",
        "1000 images",
        _scores(0.273, 0.365, 0.944, 0.966, 0.913, 0.909, 0.728, 0.421),
    ),
    ("MindEye1, mean of 4 subjects", "982 images", _scores(0.309, 0.323)),
    (
        "MindEye1, recomputed by MindEye2",
        "1000 images",
        _scores(0.319, 0.360, 0.928, 0.969, 0.946, 0.933, 0.648, 0.377),
    ),
)
