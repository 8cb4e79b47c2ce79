"""The model card, and the settings: what the model is, what it is for, what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from syncgan.config.presets import PRESETS
from syncgan.evaluation.report import FactTable, Section
from syncgan.evaluation.reporting.given import mask_origin
from syncgan.evaluation.reporting.subject import Subject

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.config import SynCGANConfig

__all__ = ["NOTICE", "card_section", "configuration_section", "nearest_preset"]

NOTICE = "Synthetic images are for training classifiers, not for diagnosis."

_PAPER = (
    "Dey, Das, Ghosh, Mitra, Chakrabarty, Das: SynCGAN: Using learnable class specific priors to generate synthetic "
    "data for improving classifier performance on cytological images, arXiv:2003.05712, 2020."
)
_INTENDED = (
    "Additional labelled images, with nucleus masks, for training classifiers or segmenters of images like those that "
    "the model learned from. Whether they help is for a benchmark on real images to say."
)
_NOT_INTENDED = (
    "Diagnosis, or any decision about a person. Validation or test sets, which must be real. Counts or measurements of "
    "cells as if they had been observed. Passing images on as anonymous patient data: not without an audit, and an "
    "audit does not show that they are anonymous either."
)
_LICENCE = (
    "syncgan is under Apache-2.0. What may be done with the model and its images depends on the licence of the "
    "training images and the consent of the patients, which syncgan does not know; that is for you to check."
)
_HOLDS_MASKS = "the saved model holds the training masks (not the images), so who has the model has them"
_HOLDS_COLOURED_MASKS = (
    "the saved model holds the training masks, and with stain classes and stain codes these show the training images "
    "recognisably, with few colours: who has the model has that"
)
_HOLDS_SHAPES = (
    "the saved model holds statistics of the training masks and codes that describe each training nucleus roughly"
)
_SETTINGS_SHOWN = 60


def card_section(subject: Subject, data: Section | None) -> Section:
    """Return the model card.

    Parameters
    ----------
    data : the section on the images, where there is one.
    """
    augmenter = subject.augmenter
    name, changed = nearest_preset(augmenter.config_)
    return Section(
        "card",
        "Model card",
        terms={
            "what it is": _what_it_is(subject),
            "trained on": _trained_on(subject, data),
            "masks": mask_origin(augmenter),
            "mask prior": _prior(augmenter),
            "filters": _filters(augmenter.config_),
            "intended use": _INTENDED,
            "not intended": _NOT_INTENDED,
            "known limits": _limits(subject),
            "settings": f"preset {name}, {len(changed)} of its settings changed; all are listed under Configuration",
            "seed": str(augmenter.seed),
            "trained with": _machine(subject),
            "licence": _LICENCE,
            "cite": f"{_PAPER} Besides, name syncgan {_syncgan(subject)}.",
        },
    )


def configuration_section(subject: Subject) -> Section:
    """Return the settings that differ from the nearest preset, all settings, and the versions."""
    config = subject.augmenter.config_
    name, changed = nearest_preset(config)
    rows = tuple((key, _said(before), _said(now)) for key, (before, now) in list(changed.items())[:_SETTINGS_SHOWN])
    tables = []
    if rows:
        explanation = f"The preset {name} is the one that the run is nearest to."
        tables.append(
            FactTable("What differs from the preset", ("setting", f"preset {name}", "this run"), rows, explanation)
        )
    versions = tuple(sorted(_versions(subject).items()))
    tables.append(FactTable("Versions", ("library", "version"), versions, "Of what the run was fitted with."))
    text = "All settings, as a file for `--config`:"
    return Section("configuration", "Configuration", text=(text,), tables=tuple(tables), listing=config.to_toml())


def nearest_preset(config: SynCGANConfig) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """Return the preset from which the fewest settings differ, and these: setting -> (preset's value, own value)."""
    from syncgan.config import SynCGANConfig

    own = dict(_leaves(config.model_dump(mode="json")))
    found = {}
    for name in PRESETS:
        preset = dict(_leaves(SynCGANConfig.preset(name).model_dump(mode="json")))
        keys = [*preset, *(key for key in own if key not in preset)]
        found[name] = {key: (preset.get(key), own.get(key)) for key in keys if preset.get(key) != own.get(key)}
    best = min(found, key=lambda name: len(found[name]))
    return best, found[best]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _said(value: Any) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _what_it_is(subject: Subject) -> str:
    augmenter = subject.augmenter
    side, classes = augmenter.config_.image_size, augmenter.classes_
    named = ", ".join(classes[:12]) + (", .." if len(classes) > 12 else "")
    generator = augmenter.config_.image_gan.generator
    return (
        f"SynCGAN: it draws a nucleus mask of a class and renders it with a conditional GAN (generator {generator!r}) "
        f"to a colour image of {side} x {side} pixels. Classes: {named}."
    )


def _trained_on(subject: Subject, data: Section | None) -> str:
    fingerprint = f"Fingerprint {subject.augmenter.fingerprint_[:16]}."
    if data is not None and data.known:
        groups = data.terms.get("groups")
        return " ".join([data.verdict, *([f"Patients or slides: {groups}."] if groups else []), fingerprint])
    items = subject.record.get("items")
    chosen = subject.augmenter.config_.image_gan.selection != "last"
    held_out = ", with those that may have been held out to choose the renderer" if chosen else ""
    return f"{len(items)} images{held_out}. {fingerprint}" if items else fingerprint


def _prior(augmenter: SynCGANAugmenter) -> str:
    """Say what draws masks, and what the saved model gives away of the training masks."""
    from torch import nn

    name, generator = augmenter.config_.mask_gan.generator, augmenter.mask_gans_[0].generator_
    if _stores_masks(augmenter):
        how = {"mosaic": "parts of several training masks, put together", "warp": "training masks, warped"}
        held = _HOLDS_MASKS if augmenter.stain_classes_ is None else _HOLDS_COLOURED_MASKS
        return f"{how.get(name, 'drawn from training masks')} (generator {name!r}); {held}"
    if isinstance(generator, nn.Module):
        return f"a generator {name!r} that was trained on the masks of the class"
    if name == "shapes":
        return f"drawn from statistics of the training masks (generator {name!r}); {_HOLDS_SHAPES}"
    return (
        f"a generator {name!r} that was fitted to the masks of the class; syncgan does not know what the saved model "
        "holds of these"
    )


def _stores_masks(augmenter: SynCGANAugmenter) -> bool:
    from syncgan.data.mask_priors.stored import StoredMasks

    return isinstance(augmenter.mask_gans_[0].generator_, StoredMasks)


def _filters(config: SynCGANConfig) -> str:
    found = ["masks unlike those of the class are drawn again"] if config.filters.mask_plausibility else []
    found += [f"sample filter {name!r}" for name in config.filters.samples]
    return "; ".join(found) or "none: every sample is kept"


def _limits(subject: Subject) -> str:
    own = (
        "It can show only what its training images show: stains, scanners, patients and rare findings that are not in "
        "them are not in its images. An image bears the label that was asked for; nobody has checked that it shows it. "
        "Small details are less sharp than in real images."
    )
    if subject.augmenter.config_.mask_gan.generator == "warp":
        own += " Masks are those of training images, warped: the layout of a training image may come back."
    elif _stores_masks(subject.augmenter):
        own += " Masks are made of parts of training masks: the outline of a single training nucleus may come back."
    return own


def _machine(subject: Subject) -> str:
    record = subject.record
    if not record:
        return f"syncgan {_syncgan(subject)}"
    threads = f", {record['threads']} thread(s)" if "threads" in record else ""
    torch = _versions(subject).get("torch", "?")
    return f"syncgan {_syncgan(subject)}, torch {torch}, device {record.get('device', '?')}{threads}"


def _syncgan(subject: Subject) -> str:
    return str(_versions(subject).get("syncgan", "?"))


def _versions(subject: Subject) -> dict[str, str]:
    from syncgan.storage import library_versions

    kept = subject.record.get("versions")
    found: Mapping[str, str] = kept if isinstance(kept, Mapping) else library_versions()
    return {str(name): str(version) for name, version in found.items()}
