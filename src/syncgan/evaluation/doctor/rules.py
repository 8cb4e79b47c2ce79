"""What is said of a folder before anybody trains on it: rules from numbers to sentences.

What the images themselves show has rules of its own, in `image_rules`.

A rule is a pure function from what was counted to findings, of which each says one thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from syncgan.config import SynCGANConfig
from syncgan.data.scan import EXCLUDED, some
from syncgan.data.segmentation_files import Segmentations
from syncgan.evaluation.doctor.finding import Finding, are, count
from syncgan.evaluation.report import spoken_duration

__all__ = [
    "MIN_CLASSES",
    "MIN_IMAGES",
    "about_counts",
    "about_files",
    "about_folders",
    "about_forecast",
    "about_groups",
    "about_segmentations",
]

MIN_CLASSES: Final = 2
MIN_IMAGES: Final = 2
"""What `fit` refuses to go below, classes and images of a class."""

_MUCH = 0.8
_MANY_TIMES = 3.0
_SPLITS: Final = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev"})
_NO_CLASSES: Final = frozenset(
    {"images", "image", "masks", "mask", "labels", "annotations", "instances", "ground_truth"}
)
# What every folder holds beside its images.
_HARMLESS: Final = (
    EXCLUDED,
    "hidden",
    "left behind by an operating system",
    "not in a class folder",
    "not an image extension",
    "link to a folder that is scanned anyway",
)


def about_folders(classes: Sequence[str]) -> list[Finding]:
    """Say where folders look like something else than classes."""
    named = {name.lower(): name for name in classes}
    findings = []
    if splits := [named[name] for name in named if name in _SPLITS]:
        findings.append(
            Finding(
                "worth a look",
                "folders",
                f"{are(splits, 'a class folder', 'class folders')} named like a split: {some(splits)}",
                remedy="every folder directly in DATA is a class; give the folder that holds the classes, DATA/train",
            )
        )
    if others := [named[name] for name in named if name in _NO_CLASSES]:
        findings.append(
            Finding(
                "worth a look",
                "folders",
                f"{are(others, 'a class folder', 'class folders')} named like a segmentation set's: {some(others)}",
                remedy="every folder directly in DATA is a class; put images in DATA/CLASS/ and give masks by --masks",
            )
        )
    return findings


def about_counts(counts: Mapping[str, int], config: SynCGANConfig) -> list[Finding]:
    """Say whether there are enough images of every class, and about as many.

    Parameters
    ----------
    counts : class name -> number of images that can be read.
    """
    findings = []
    if len(counts) < MIN_CLASSES:
        findings.append(
            Finding(
                "problem",
                "images",
                f"there is one class only, {some(list(counts))}",
                remedy="`fit` needs two classes or more; put each image in DATA/CLASS/",
            )
        )
    if few := [name for name, count in counts.items() if count < MIN_IMAGES]:
        findings.append(
            Finding(
                "problem",
                "images",
                f"{are(few, 'a class has', 'classes have')} fewer than {MIN_IMAGES} images: {some(few)}",
                remedy="`fit` refuses such a class; add images or remove the folder",
            )
        )
    findings += _about_few(counts, config)
    most, least = max(counts.values()), max(min(counts.values()), 1)
    if len(counts) >= MIN_CLASSES and most > _MANY_TIMES * least:
        findings.append(
            Finding(
                "worth a look",
                "images",
                f"the largest class has {most / least:.1f} times as many images as the smallest",
                remedy='`wrap(dataset, strategy="balance")` makes every class as large as the largest',
            )
        )
    table = tuple(f"{count} {name}" for name, count in counts.items())
    return [
        *findings,
        Finding("fine", "images", f"{sum(counts.values())} images of {count(len(counts), 'class', 'classes')}", table),
    ]


def _about_few(counts: Mapping[str, int], config: SynCGANConfig) -> list[Finding]:
    """Say what the configuration does with classes of few images."""
    section = config.mask_gan
    few = [name for name, count in counts.items() if MIN_IMAGES <= count < section.shared_below]
    if not few:
        return []
    does = {
        "auto": "so one mask GAN that is told the class learns all classes (mask_gan.sharing = auto)",
        "shared": "and one mask GAN that is told the class learns all classes (mask_gan.sharing = shared)",
        "class": "yet each class has a mask GAN of its own (mask_gan.sharing = class)",
    }[section.sharing]
    remedy = "more images of the class are worth more than any setting; masks made of real ones need fewest "
    remedy += "(--set mask_gan.generator=mosaic)"
    if section.generator not in ("decoder", "unet"):
        whose = "its" if len(few) == 1 else "their"
        does = f"so {whose} masks vary little beyond what these show (mask_gan.generator = {section.generator})"
        remedy = "more images of the class are worth more than any setting"
    start = f"{are(few, 'a class has', 'classes have')} fewer than {section.shared_below} images: {some(few)}"
    return [Finding("worth a look", "images", f"{start}; {does}", remedy=remedy)]


def about_files(unreadable: Mapping[str, str], notes: Iterable[str]) -> list[Finding]:
    """Say which files are left out, and what had to be decided of others."""
    findings = []
    if unreadable:
        findings.append(
            Finding(
                "worth a look",
                "files",
                f"{count(len(unreadable), 'file', 'files')} cannot be read",
                tuple(f"{name}: {reason}" for name, reason in unreadable.items()),
                remedy="`fit` leaves them out; copy them again from where they came from, or delete them",
            )
        )
    notes = list(notes)
    harmless = [note for note in notes if note.startswith("ignored ") and note.endswith(_HARMLESS)]
    if others := [note for note in notes if note not in harmless]:
        findings.append(Finding("worth a look", "files", "some files or folders are odd", tuple(others)))
    if harmless:
        findings.append(Finding("fine", "files", "some files are no images of a class", tuple(harmless)))
    if not unreadable:
        findings.append(Finding("fine", "files", "every image file can be read"))
    return findings


def about_segmentations(found: Iterable[Segmentations]) -> list[Finding]:
    """Say which files look like segmentations of others and would be learnt as images."""
    return [Finding("problem", "files", own.text, remedy=own.remedy) for own in found]


def about_groups(groups: Sequence[str], classes: Sequence[str]) -> list[Finding]:
    """Say from how many patients or slides the images of each class come."""
    of_class: dict[str, set[str]] = {}
    for group, name in zip(groups, classes, strict=True):
        of_class.setdefault(name, set()).add(group)
    table = tuple(f"{len(own)} of {name}" for name, own in of_class.items())
    findings = [Finding("fine", "groups", f"{count(len(set(groups)), 'group', 'groups')}", table)]
    if single := [name for name, own in of_class.items() if len(own) == 1]:
        findings.insert(
            0,
            Finding(
                "worth a look",
                "groups",
                f"{are(single, 'a class comes', 'classes come')} from one group only: {some(single)}",
                remedy="nothing of it can be held out by group, so nothing can be said of new patients",
            ),
        )
    return findings


def about_forecast(forecast: Mapping[str, Any], kept_mb: float, machine_mb: float | None) -> list[Finding]:
    """Say how long `fit` would take and how much memory.

    Parameters
    ----------
    forecast : what `syncgan.evaluation.doctor.probe.ask` told.
    kept_mb : of the images at their own sizes, which the measured steps did not hold.
    machine_mb : memory of the machine, None where it is not known.
    """
    if "error" in forecast:
        text = f"a fit cannot begin here: {forecast['error']}"
        return [Finding("problem", "fit", text, remedy="change the settings (--set) or the device (--device)")]
    peak_mb, on_cpu = forecast["peak_memory_mb"], forecast["device"] == "cpu"
    held_mb = peak_mb + kept_mb if on_cpu else kept_mb
    memory = f"{held_mb / 1024:.1f} GiB of memory at the peak"
    if not on_cpu and peak_mb:
        memory = f"{peak_mb / 1024:.1f} GiB of the GPU's memory at the peak"
    stages = tuple(f"{steps} steps of {stage}" for stage, steps in forecast["stages"].items())
    spoken = spoken_duration(forecast["seconds"])
    where = forecast["device"]
    text = f"`fit` trains for about {spoken} on {where} and needs {memory} (estimated from a few measured steps)"
    findings = [Finding("fine", "fit", text, stages)]
    if machine_mb is not None and held_mb > _MUCH * machine_mb:
        text = f"`fit` needs about {held_mb / 1024:.1f} GiB, and this machine has {machine_mb / 1024:.1f} GiB"
        remedy = "take smaller batches (--set image_gan.batch_size=1), smaller images, or fewer of them"
        findings.insert(0, Finding("worth a look", "fit", text, remedy=remedy))
    return findings
