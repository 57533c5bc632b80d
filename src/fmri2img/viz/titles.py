"""What metrics and rows are called on pages, in tables and in figures."""

# Metrics of the headline preset, in the order in which they stand; the arrow marks those where less
# is better.
METRIC_TITLES = {
    "pixcorr": "PixCorr",
    "ssim": "SSIM",
    "two_way_alexnet_2": "AlexNet(2)",
    "two_way_alexnet_5": "AlexNet(5)",
    "two_way_inception": "Inception",
    "two_way_clip": "CLIP",
    "effnet_b_distance": "EffNet-B ↓",
    "swav_distance": "SwAV ↓",
    "two_way_effnet_lite0": "EfficientNet-Lite0 2-way",
    "effnet_lite0_distance": "EfficientNet-Lite0 distance ↓",
    "pattern_correlation": "latent pattern r",
    "dimension_correlation": "latent dimension r",
    "two_way": "latent 2-way",
}
PICTURE_METRICS = tuple(METRIC_TITLES)[:10]
# The eight that published tables have.
PUBLISHED_METRICS = PICTURE_METRICS[:8]
_VARIANTS = {
    "ssim_columnwise": "SSIM, column-wise",
    "pattern_correlation_scaled": "latent pattern r, z-scored",
}
_OTHER_PRESET = "brain_diffuser_"
# Row to its section in the metrics document, and to its title.
ROW_SECTIONS = {
    "model": "test",
    "z_only": "z_only",
    "c_only": "c_only",
    "single_trial": "single_trial",
    "ridge": "reference_ridge",
    "grey": "floor_grey",
    "train_mean": "floor_train_mean",
    "mean_latent": "floor_mean_latent",
    "shuffled": "floor_shuffled",
    "nearest_train": "floor_nearest_train",
    "vae_ceiling": "ceiling",
    "resize_ceiling": "ceiling_resize",
}
ROW_TITLES = {
    "model": "encoder",
    "z_only": "from z alone",
    "c_only": "from c alone",
    "single_trial": "from a single trial",
    "ridge": "reference: ridge",
    "grey": "floor: grey",
    "train_mean": "floor: mean picture",
    "mean_latent": "floor: mean latent, decoded",
    "shuffled": "floor: shuffled",
    "nearest_train": "retrieval: nearest training image",
    "vae_ceiling": "ceiling: autoencoder alone",
    "resize_ceiling": "ceiling: size of pictures alone",
}
# Rows that are the same for all encoders of a subject.
SUBJECT_ROWS = ("grey", "train_mean", "mean_latent", "vae_ceiling", "resize_ceiling")


def title_of(metric: str) -> str:
    """Return a metric's title; of a variant that of the metric and what is different."""
    if metric in METRIC_TITLES | _VARIANTS:
        return (METRIC_TITLES | _VARIANTS)[metric]
    if metric.startswith(_OTHER_PRESET):
        return f"{title_of(metric.removeprefix(_OTHER_PRESET))}, Brain-Diffuser"
    if metric.endswith("_ground_truth"):
        return f"{title_of(metric.removesuffix('_ground_truth'))}, fixed truth"
    return metric.replace("_", " ")
