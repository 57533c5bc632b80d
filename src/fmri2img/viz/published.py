"""Published scores of the nearest relatives: decoders of a low-level latent, without a diffusion model behind them.

From metrics tables of MindEye1 (github.com/MedARC-AI/fMRI-reconstruction-NSD, issue 17) and MindEye2 (arXiv:2403.11207, table 1).
"""

# Name, test set, and scores by metric.
PUBLISHED: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("MindEye1 low-level, subj01", "982 images", {"pixcorr": 0.456, "ssim": 0.493}),
    ("MindEye2 low-level, mean of 4 subjects", "1000 images", {"pixcorr": 0.399, "ssim": 0.539}),
)
