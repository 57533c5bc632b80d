"""The methods section: sentences made from facts, with citations as ``[@key]``, which pandoc and
`latex.from_markdown` understand.
"""

from collections.abc import Callable, Iterable
from typing import Any

from fmri2img import __version__
from fmri2img.evaluation.presets import HEADLINE
from fmri2img.paper.facts import Encoder, Facts, Participant

# Sections of the text: heading and paragraphs.
Sections = dict[str, list[str]]
_NUMBERS = ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def methods(facts: Facts) -> Sections:
    """Return the methods section as paragraphs of Markdown by heading."""
    return {
        "Data": _data(facts),
        "Regions and responses": _responses(facts),
        "Targets": _targets(facts),
        "Encoders": _encoders(facts),
        "Evaluation": _evaluation(facts),
        "Software": _software(facts),
    }


def in_words(items: Iterable[object]) -> str:
    """Return items as text: ``a``, ``a and b``, ``a, b and c``."""
    words = [str(item) for item in items]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 session``, ``2 sessions``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_counted(number: int, noun: str) -> str:
    """Return the same at the start of a sentence, where small numbers are words."""
    whole = counted(number, noun)
    if 1 <= number <= len(_NUMBERS):
        return whole.replace(str(number), _NUMBERS[number - 1], 1)
    return whole


def by_subject(facts: Facts, value: Callable[[Participant], object]) -> str:
    """Return a value once if all subjects share it, else each with the subject's name."""
    values = {one.subject: str(value(one)) for one in facts.participants}
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    each_with_name = [f"{each} ({subject})" for subject, each in values.items()]
    is_list = any(" and " in each for each in values.values())
    return "; ".join(each_with_name) if is_list else in_words(each_with_name)


def _data(facts: Facts) -> list[str]:
    participants = facts.participants
    source = participants[0].provenance["data_source"]
    origin = {
        "simulated": "**The data are simulated**: files in the form of the Natural Scenes Dataset "
        "(NSD) [@allen2022], with responses of a simulated visual cortex; the results are not "
        "about real brains.",
        "nsd": "We used the Natural Scenes Dataset (NSD) [@allen2022], in which people saw "
        "photographs from COCO [@lin2014] in a 7-tesla scanner.",
    }.get(source, f"The data are those of {participants[0].provenance['title']}.")
    trials = by_subject(
        facts,
        lambda one: (
            f"{counted(one.n_sessions, 'session')}, {one.n_trials} trials of {one.n_images} images"
        ),
    )
    test = (
        "the images that the dataset sets apart, which are in no training set"
        if {one.split for one in participants} == {"shared"}
        else "images drawn at random" + _except_shared(participants)
    )
    return [
        f"{origin} {_subjects(facts)} entered the analysis: {trials}.",
        "All trials of an image were on one side of the split. Test images were "
        f"{test}: {by_subject(facts, lambda one: one.n_test)}, shown "
        f"{by_subject(facts, _times)}. Of the other images, "
        f"{by_subject(facts, lambda one: one.n_train)} served for training and "
        f"{by_subject(facts, lambda one: one.n_validation)} for validation. Normalisation, "
        "penalties, hyperparameters and the choice of an encoder used training and validation "
        "images only.",
    ]


def _except_shared(participants: Iterable[Participant]) -> str:
    kinds = {one.split for one in participants}
    return "" if kinds == {"random"} else " for some subjects, and those set apart for others"


def _subjects(facts: Facts) -> str:
    names = in_words(one.subject for one in facts.participants)
    return f"{first_counted(len(facts.participants), 'subject')} ({names})"


def _times(one: Participant) -> str:
    """Say how often test images were shown."""
    if len(one.shown) == 1:
        return f"{_often(next(iter(one.shown)))} each"
    return in_words(
        f"{_often(times)} ({counted(number, 'image')})" for times, number in one.shown.items()
    )


def _often(times: int) -> str:
    return {1: "once", 2: "twice"}.get(times, f"{times} times")


def _responses(facts: Facts) -> list[str]:
    regions = by_subject(
        facts, lambda one: in_words(f"{name} {n}" for name, n in one.regions.items())
    )
    chosen = by_subject(facts, lambda one: _roi(one.provenance["region"]))
    return [
        f"Voxels were those of {chosen}, at {by_subject(facts, _resolution)}: "
        f"{by_subject(facts, lambda one: one.n_voxels)} voxels ({regions}). "
        f"{by_subject(facts, _betas)} {by_subject(facts, _selection)} "
        "Before an image was reconstructed, the responses to its repetitions were averaged."
    ]


_MAPPINGS = {"winner_take_all": "winner takes all"}


def _roi(region: dict[str, Any]) -> str:
    names = str(region["roi"]).split("+")
    drawn = {
        "anat": ", drawn in anatomical space and mapped to functional space "
        f"({_MAPPINGS.get(region.get('mapping', ''), 'nearest neighbour')})",
        "func": ", drawn in functional space",
    }.get(region.get("drawn_in", ""), "")
    return f"{in_words(names)}{drawn}"


def _resolution(one: Participant) -> str:
    return f"{one.provenance['voxel_mm']:g} mm"


def _betas(one: Participant) -> str:
    """Say what a response is."""
    units, windows = one.provenance["units"]["name"], one.provenance.get("timeseries")
    if one.provenance.get("responses") == "timeseries" and windows:
        return (
            f"A response is the mean of the time series from {windows['window_seconds'][0]:g} to "
            f"{windows['window_seconds'][1]:g} s after onset, minus that from "
            f"{windows['baseline_seconds'][0]:g} to {windows['baseline_seconds'][1]:g} s, in "
            f"{units}."
        )
    version = one.provenance.get("beta_version")
    shown = f" of version {version}" if version in ("b1", "b2", "b3") else ""  # NSD's
    return f"Responses are betas{shown}, in {units}."


def _selection(one: Participant) -> str:
    """Say which voxels were dropped."""
    threshold = one.provenance["selection"]["min_ncsnr"]
    if not threshold:
        return "No voxel was left out for its noise."
    return (
        f"Voxels with a noise-ceiling signal-to-noise ratio below {threshold:g}, estimated from "
        "training and validation images, were left out."
    )


def _targets(facts: Facts) -> list[str]:
    name, revision = facts.autoencoder["name"], facts.autoencoder.get("revision", "")
    at = f", revision {revision}" if revision not in ("", "folder") else ""
    channels, height, width = facts.encoders[0].latent_shape
    return [
        "If nothing else is said, encoders predict the latent of each picture in a frozen "
        f"autoencoder of Stable Diffusion's form [@rombach2022] (`{name}`{at}, SHA-256 "
        f"{facts.autoencoder['sha256'][:12]}): {channels} × {height} × {width} numbers, which its "
        f"decoder turns into a picture of {8 * height} × {8 * width} pixels."
    ]


# What each encoder does, with its citations.
DESCRIPTIONS = {
    "ridge": "a ridge regression for each latent dimension, its penalty chosen by "
    "cross-validation that keeps the trials of an image together [@dupre2022]",
    "bayes": "a linear model from pictures (latents and local contrast energies) to voxels whose "
    "weights share a prior by region, learnt from the subject's own voxels, inverted with a prior "
    "on pictures; the prediction is the posterior mean",
    "bayes_population": "as `bayes`, with priors of regions learnt from other subjects too",
    "bayes_independent": "as `bayes`, with each voxel by itself",
    "low_level": "a residual multilayer perceptron with a convolutional upsampler, modelled on "
    "MindEye's low-level pipeline [@scotti2023]",
    "basic_ae": "linear layers and a transposed convolution, trained by gradient on latents",
    "blend": "the mean of `bayes` and `low_level`, weighed on validation images",
    "upscaling_ae": "a network trained on pictures together with a small decoder of its own, in "
    "place of the autoencoder's",
    "takagi": "two ridge regressions, to Stable Diffusion's latent and to the embedding of "
    "captions, from which pictures are generated by diffusion [@takagi2023]",
}


def _encoders(facts: Facts) -> list[str]:
    models = []
    for model in facts.models:
        encoder = next(one for one in facts.encoders if one.model == model)
        about = DESCRIPTIONS.get(model, "a model of this project")
        banded = ", one penalty a region" if encoder.settings.get("bands") == "roi" else ""
        models.append(f"`{model}`: {about}{banded}{_clipping(encoder)}")
    champions: dict[str, list[str]] = {}
    for encoder in facts.encoders:
        if encoder.is_champion:
            champions.setdefault(encoder.model, []).append(encoder.subject)
    chosen = in_words(f"`{model}` for {in_words(whom)}" for model, whom in champions.items())
    best = f" On validation images the best was {chosen}." if chosen else ""
    were = "was" if len(models) == 1 else "were"
    number = first_counted(len(models), "encoder")
    return [f"{number} {were} trained for each subject. {'; '.join(models)}.{best}"]


def _clipping(encoder: Encoder) -> str:
    mads = encoder.settings.get("clip_mads")
    return f" (betas clipped at {mads:g} median absolute deviations)" if mads else ""


def _evaluation(facts: Facts) -> list[str]:
    about = facts.encoders[0].about
    _, _, tested = str(about.get("p_of", "")).replace(" x ", " × ").partition("; ")
    return [
        f"{_scores(facts)} Intervals are 95 % intervals over test images by the BCa bootstrap "
        f"[@efron1987] (of scores with {about['n_bootstrap']} resamples); they say nothing about "
        "other people. The floor of a score is the best that a prediction reaches that knows "
        "nothing of the image: a grey picture, the mean training picture, the decoded mean "
        "latent, or the encoder's own predictions of other images. The ceiling is the true "
        "picture after the autoencoder has encoded and decoded it.",
        f"Whether a score exceeds chance was tested with {about['n_permutations']} random pairings "
        f"of predictions and images [@phipson2010]{f' ({tested})' if tested else ''}; encoders "
        "were compared with `ridge` on the same images by sign flips of the differences. "
        f"{_families(facts)}",
    ]


def _scores(facts: Facts) -> str:
    """Say what was compared, by which scores, and with whose features."""
    about = facts.encoders[0].about
    width, height = about["truth_pixels"]
    of_latents = [one.title for one in facts.metrics.values() if one.space == "latents"]
    of_pictures = [one.title for one in facts.metrics.values() if one.space != "latents"]
    sizes = {HEADLINE: ", brought to one size as in MindEye [@scotti2023]"}.get(about["preset"], "")
    sentences = [
        f"Reconstructions were compared with the dataset's pictures of {width} × {height} "
        f"pixels{sizes}, by {in_words(of_pictures)} (SSIM: [@wang2004])."
    ]
    needed = {one.network for one in facts.metrics.values() if one.network}
    networks = [
        words for name, words in _NETWORKS.items() if any(one.startswith(name) for one in needed)
    ]
    sentences += [f"Features came from {in_words(networks)}."] if networks else []
    if of_latents:
        sentences.append(
            f"Predicted latents were compared with those of the pictures, both minus the mean of "
            f"training pictures, by {in_words(of_latents)}."
        )
    return " ".join(sentences)


# Networks of scores, by the beginning of their names.
_NETWORKS = {
    "effnet_lite0": "EfficientNet-Lite0 [@tan2019]",
    "effnet_b": "EfficientNet-B1 [@tan2019]",
    "alexnet": "AlexNet [@krizhevsky2012]",
    "inception": "Inception v3 [@szegedy2016]",
    "clip": "CLIP [@radford2021]",
    "swav": "SwAV [@caron2020]",
}


def _families(facts: Facts) -> str:
    sizes = facts.family_sizes
    families = [
        f"{counted(sizes[name], 'test')} {words}"
        for name, words in (("chance", "against chance"), ("differences", "against `ridge`"))
        if sizes[name]
    ]
    return (
        "All p values were corrected by Holm's method [@holm1979] over all subjects, encoders and "
        f"scores of a comparison, separately within {in_words(families)}."
    )


def _software(facts: Facts) -> list[str]:
    versions = facts.encoders[0].about["versions"]
    named = in_words(
        f"{name} {version}" for name, version in versions.items() if version != "not installed"
    )
    return [
        f"The analysis was run with fmri2img {__version__} [@fmri2img]; scores were computed with "
        f"{named}. The same seed gives the same bytes on one machine; `dvc.lock` names the MD5 of "
        "every input and result."
    ]
