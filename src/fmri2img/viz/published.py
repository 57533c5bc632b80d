"""Published scores on NSD, each with the test set it was measured on.

Low-level decoders (a blurry latent, no diffusion model behind it) are the nearest relatives; of the others, two scores are known on both
test sets. From the metrics of MindEye1 (github.com/MedARC-AI/fMRI-reconstruction-NSD, issue 17; arXiv:2305.18274), Brain-Diffuser
(arXiv:2303.05334) and MindEye2 (arXiv:2403.11207, table 1, which recomputes the others on 1000 images).
"""

# Name, test set, and scores by metric.
PUBLISHED: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("MindEye1 low-level, subj01", "982 images", {"pixcorr": 0.456, "ssim": 0.493}),
    (
        "MindEye2 low-level, mean of 4 subjects",
        "1000 images",
        {
            "pixcorr": 0.399,
            "ssim": 0.539,
            "two_way_alexnet_2": 0.705,
            "two_way_alexnet_5": 0.651,
            "two_way_inception": 0.529,
            "two_way_clip": 0.572,
            "effnet_b_distance": 0.984,
            "swav_distance": 0.673,
        },
    ),
    (
        "Takagi & Nishimoto, recomputed by MindEye2",
        "1000 images",
        {
            "pixcorr": 0.246,
            "ssim": 0.410,
            "two_way_alexnet_2": 0.789,
            "two_way_alexnet_5": 0.856,
            "two_way_inception": 0.838,
            "two_way_clip": 0.821,
            "effnet_b_distance": 0.811,
            "swav_distance": 0.504,
        },
    ),
    ("Brain-Diffuser, mean of 4 subjects", "982 images", {"pixcorr": 0.254, "ssim": 0.356}),
    ("Brain-Diffuser, recomputed by MindEye2", "1000 images", {"pixcorr": 0.273, "ssim": 0.365}),
    ("MindEye1, mean of 4 subjects", "982 images", {"pixcorr": 0.309, "ssim": 0.323}),
    ("MindEye1, recomputed by MindEye2", "1000 images", {"pixcorr": 0.319, "ssim": 0.360}),
)
