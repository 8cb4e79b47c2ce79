"""What is said of the images of a folder: rules from sizes, colours and likeness to sentences."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import PurePosixPath

import numpy as np

from syncgan.config import SynCGANConfig
from syncgan.data.scan import some
from syncgan.evaluation.doctor.burnt_in import BurntIn
from syncgan.evaluation.doctor.finding import Finding, are, count, plural
from syncgan.evaluation.doctor.rules import MIN_CLASSES, MIN_IMAGES
from syncgan.evaluation.same_images import ImagePrint, SameImages

__all__ = ["Duplicates", "about_burnt_in", "about_duplicates", "about_pixels", "about_stain"]

_OTHER_SCALE = 4
_LONG_AND_NARROW = 1.25
_IMAGES_OF_A_VALUE = 4
_TELLING_SHARE, _TELLING_CHANCE = 0.25, 1e-3
_SHARED_OUTLINE, _FEWEST_ALIKE = 0.2, 5


@dataclass(frozen=True)
class Duplicates:
    """Files that hold one image.

    Attributes
    ----------
    files : paths relative to the folder, at least two.
    classes, groups : the distinct ones that they lie in; no groups where none were given.
    exact : whether all decode to the same pixels; otherwise some are recompressed, scaled, turned or the like.
    mislabelled : whether the very same pixels lie in several classes.
    likeness : correlation by which they were found, 1 for copies.
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    exact: bool
    mislabelled: bool
    likeness: float

    @classmethod
    def of(
        cls, same: SameImages, files: Sequence[str], classes: Sequence[str], groups: Sequence[str] | None
    ) -> Duplicates:
        """Name the members of the set `same`; `files`, `classes` and `groups` are aligned with the images."""
        return cls(
            files=tuple(files[at] for at in same.members),
            classes=tuple(dict.fromkeys(classes[at] for at in same.members)),
            groups=() if groups is None else tuple(dict.fromkeys(groups[at] for at in same.members)),
            exact=same.exact,
            mislabelled=any(len({classes[at] for at in copies}) > 1 for copies in same.copies),
            likeness=same.likeness,
        )

    @property
    def leaks(self) -> bool:
        """Whether they lie in several classes or groups."""
        return len(self.classes) > 1 or len(self.groups) > 1


def about_pixels(
    prints: Sequence[ImagePrint], classes: Sequence[str], files: Sequence[str], config: SynCGANConfig
) -> list[Finding]:
    """Say how large the images are and how they are stored, and whether that tells the class.

    Parameters
    ----------
    classes, files : class name, and path below the folder, of each print.
    """
    sizes = [found.size for found in prints]
    kinds = [found.kind for found in prints]
    findings = []
    wanted = config.image_size
    if small := [found for found in prints if min(found.width, found.height) < wanted]:
        text = f"{count(len(small), 'image is', 'images are')} smaller than the {wanted} px that are trained on"
        remedy = "see whether they belong to the others: enlarged images hold no more detail"
        if len(small) > len(prints) / 2:
            middle = statistics.median(min(found.width, found.height) for found in prints)
            remedy = f"enlarged images hold no more detail; {config.advice_for(middle)}"
        findings.append(Finding("worth a look", "pixels", text, remedy=remedy))
    narrow = sum(max(found.width, found.height) > _LONG_AND_NARROW * min(found.width, found.height) for found in prints)
    if narrow and config.geometry == "resize":
        findings.append(
            Finding(
                "worth a look",
                "pixels",
                f"{count(narrow, 'image is', 'images are')} far from square and will be squeezed",
                remedy="round nuclei become long; use --set geometry=crop or geometry=pad",
            )
        )
    findings += _about_scales(prints, classes, files)
    for what, values in (("size", sizes), ("kind of file", kinds)):
        if telling := _telling(values, classes):
            findings.append(
                Finding(
                    "worth a look",
                    "pixels",
                    f"the {what} alone tells {are(telling, 'a class', 'classes')} from the others: {some(telling)}",
                    remedy="a classifier may learn that instead of the cells; store all classes in one way",
                )
            )
    for what, values in (("size", sizes), ("kind of file", kinds)):
        rows = Counter(values).most_common()
        table = tuple(f"{count} of {value}" for value, count in rows)
        findings.append(Finding("fine", "pixels", f"{count(len(rows), what, plural(what))}", table))
    return findings


def _about_scales(prints: Sequence[ImagePrint], classes: Sequence[str], files: Sequence[str]) -> list[Finding]:
    """Say which images are of another scale than their class, such as whole fields among crops."""
    side = {file: math.sqrt(found.width * found.height) for found, file in zip(prints, files, strict=True)}
    of_class: defaultdict[str, list[str]] = defaultdict(list)
    for name, file in zip(classes, files, strict=True):
        of_class[name].append(file)
    usual = {name: statistics.median_low(side[file] for file in own) for name, own in of_class.items()}
    odd = {
        file: f"{file}: {found.size}, where the median side in {name} is {usual[name]:.0f} px"
        for found, name, file in zip(prints, classes, files, strict=True)
        if not usual[name] / _OTHER_SCALE <= side[file] <= usual[name] * _OTHER_SCALE
    }
    if not odd:
        return []
    mixed = [file for own in of_class.values() if not odd.keys().isdisjoint(own) for file in own]
    text = f"{count(len(odd), 'image is', 'images are')} more than {_OTHER_SCALE} times as large or as small as usual "
    text += f"in {'its' if len(odd) == 1 else 'their'} class"
    remedy = "fields and crops of cells are different images: keep one kind (--exclude PATTERN)"
    if folder := _parting_folder(mixed, odd):
        text += f": the folder {folder!r} parts them"
        remedy = f"fields and crops of cells are different images: leave out what lies in {folder!r} "
        remedy += f"(--exclude '*/{escape(folder)}/*'), or the rest"
    return [Finding("worth a look", "pixels", text, tuple(odd.values()), remedy)]


def _parting_folder(files: Collection[str], odd: Collection[str]) -> str | None:
    """Return the name of the folder below the classes in which all odd files lie and no others, or the other way."""
    within: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        for part in PurePosixPath(file).parts[1:-1]:
            within[part].add(file)
    rest = set(files) - set(odd)
    return next((part for part in sorted(within) if within[part] in (set(odd), rest)), None)


def about_burnt_in(found: Mapping[str, BurntIn]) -> list[Finding]:
    """Say where the images of a class have something in common at one place: a scale bar, a label, dust.

    Parameters
    ----------
    found : what each class of enough images has in common.
    """
    boxes = {name: own.box for name, own in found.items() if own.box is not None}
    if not boxes:
        return []
    text = (
        f"{are(list(boxes), 'a class has', 'classes have')} the same edges at the same place in most images, as scale "
    )
    text += f"bars, labels and dust have: {some(list(boxes))}"
    if others := [name for name in found if name not in boxes]:
        text += f"; that tells {are(list(boxes), 'it', 'them')} from {some(others)}"
    lines = [
        f"{name}: from ({left}, {top}) to ({right}, {bottom}) of {found[name].size[0]} x {found[name].size[1]} px, by "
        f"{found[name].images} images"
        for name, (left, top, right, bottom) in boxes.items()
    ]
    remedy = "crop it away or paint it over in all images: it may be taken for a nucleus, and a classifier may learn it"
    return [Finding("worth a look", "pixels", text, tuple(lines), remedy)]


def about_stain(prints: Sequence[ImagePrint], classes: Sequence[str]) -> list[Finding]:
    """Say whether classes differ in stain or light: in the colour of what is bare, which no cell explains.

    That is so where a quarter of the variance of red, green or blue of the palest parts lies between classes, and more
    than chance would put there (one-way analysis of variance, p < 0.001 for the three together).

    Parameters
    ----------
    classes : class name of each print.
    """
    from scipy.stats import f_oneway

    known = [(found.palest, name) for found, name in zip(prints, classes, strict=True) if found.palest is not None]
    names = list(dict.fromkeys(name for _, name in known))
    of_class = [np.stack([own for own, name in known if name == wanted]).astype(np.float64) for wanted in names]
    between, within = len(names) - 1, len(known) - len(names)
    if len(names) < MIN_CLASSES or within < 1:
        return []
    # A colour that is saturated everywhere says nothing.
    varies = np.ptp(np.concatenate([own - own.mean(axis=0) for own in of_class]), axis=0) > 0
    if not varies.any():
        return []
    variance, chance = f_oneway(*(own[:, varies] for own in of_class), axis=0)
    share = np.max(variance * between / (variance * between + within))
    if share < _TELLING_SHARE or len(chance) * np.min(chance) >= _TELLING_CHANCE:
        return []
    text = f"the colour of what is bare tells the classes: {share:.0%} of its variance lies between them"
    means = (", ".join(f"{value:.0f}" for value in own.mean(axis=0)) for own in of_class)
    return [
        Finding(
            "worth a look",
            "stain",
            text,
            tuple(f"red, green, blue {mean} on average in {name}" for name, mean in zip(names, means, strict=True)),
            remedy="no cell explains that; a classifier may learn slides, stain or light: take more slides of each "
            "class, and hold out whole slides (--groups)",
        )
    ]


def _telling(values: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the classes that have no value in common with another class, and few values for their images.

    Values that hardly occur twice are shared by no class, and tell none.
    """
    of_class: dict[str, set[str]] = {}
    for value, name in zip(values, classes, strict=True):
        of_class.setdefault(name, set()).add(value)
    sizes = Counter(classes)
    if len(of_class) < MIN_CLASSES:
        return []
    return [
        name
        for name, own in of_class.items()
        if sizes[name] >= MIN_IMAGES
        and len(own) <= max(1, sizes[name] // _IMAGES_OF_A_VALUE)
        and not own & set().union(*(of_class[other] for other in of_class if other != name))
    ]


def about_duplicates(duplicates: Sequence[Duplicates], limit: float, images: int) -> list[Finding]:
    """Say which images occur more than once, and whether that leaks.

    Parameters
    ----------
    limit : correlation from which two images count as near copies.
    images : number of all that were compared.
    """
    many = max(_FEWEST_ALIKE, _SHARED_OUTLINE * images)
    outlines = [found for found in duplicates if not found.exact and len(found.files) > many]
    findings = _about_classes(duplicates, outlines)
    if across := [found for found in duplicates if len(found.groups) > 1 and found not in outlines]:
        text = f"{count(len(across), 'image lies', 'images lie')} in several groups: it leaks between training and test"
        remedy = "keep one of each, or give all groups that share images one name"
        findings.append(Finding("problem", "duplicates", text, tuple(map(_line, across)), remedy))
    if outlines:
        most = max(len(found.files) for found in outlines)
        text = f"{most} of {images} images are like one of them: they share an outline, and near copies cannot be told"
        remedy = "look at duplicates.png (--out DIR); among them, trust copies of the same pixels only"
        findings.append(Finding("worth a look", "duplicates", text, tuple(map(_line, outlines)), remedy))
    if inside := [found for found in duplicates if not found.leaks and found not in outlines]:
        findings.append(
            Finding(
                "worth a look",
                "duplicates",
                f"{count(len(inside), 'image occurs', 'images occur')} more than once in a class",
                tuple(map(_line, inside)),
                remedy="keep one of each: copies count double, and leak where images are split at random",
            )
        )
    if not duplicates:
        findings.append(
            Finding("fine", "duplicates", f"no image occurs twice (correlation {limit} over flips and quarter turns)")
        )
    return findings


def _about_classes(duplicates: Sequence[Duplicates], outlines: Sequence[Duplicates]) -> list[Finding]:
    """Say which images lie in several classes; only where the very same pixels do, a label is wrong for certain."""
    findings = []
    if wrong := [found for found in duplicates if found.mislabelled]:
        text = f"{count(len(wrong), 'image lies', 'images lie')} in several classes: a label is wrong"
        remedy = "keep it in the right class, or nowhere if that cannot be known"
        findings.append(Finding("problem", "duplicates", text, tuple(map(_line, wrong)), remedy))
    across = [found for found in duplicates if len(found.classes) > 1 and not found.mislabelled]
    if across := [found for found in across if found not in outlines]:
        text = f"{count(len(across), 'image has', 'images have')} a near copy in another class"
        remedy = "look at duplicates.png (--out DIR): either a label is wrong or the images only share an outline"
        findings.append(Finding("worth a look", "duplicates", text, tuple(map(_line, across)), remedy))
    return findings


def _line(found: Duplicates) -> str:
    how = "the same pixels" if found.exact else f"alike, correlation {found.likeness:.2f}"
    shown = ", ".join(map(repr, found.files[:4]))
    more = f" and {len(found.files) - 4} more" if len(found.files) > 4 else ""
    groups = f"; groups {some(found.groups)}" if len(found.groups) > 1 else ""
    return f"{shown}{more}: {how}{groups}"
