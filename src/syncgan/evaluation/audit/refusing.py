"""Samples with too many copies are refused: by an error, or as the check of an export before it comes into sight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from syncgan.data.export import Check, Checked, Exported
from syncgan.data.images import read_image
from syncgan.errors import ConfigError, DataError
from syncgan.evaluation.audit.result import Audit
from syncgan.evaluation.audit.sources import AuditImages, Labelled, RealImages, audit_images

__all__ = ["copy_check", "refusal", "require_no_copies"]

_NAMED = 3


def require_no_copies(found: Audit, *, most: float = 0.0) -> None:
    """Refuse samples of which more than a share are copies, or of which an audit cannot tell.

    Parameters
    ----------
    found : what `audit` returned.
    most : share of copies that is let pass.

    Raises
    ------
    DataError
        Says the verdict, and which samples are copies of which training images.
    """
    why = refusal(found, most=most)
    if why is not None:
        raise DataError(why)


def refusal(
    found: Audit,
    *,
    most: float = 0.0,
    samples: Sequence[str] | None = None,
    training: Sequence[str] | None = None,
) -> str | None:
    """Say why samples are refused and what to do; None where they are not.

    Parameters
    ----------
    found, most : see `require_no_copies`.
    samples, training : names of the images; None for numbers.
    """
    if found.outcome == "cannot see copies":
        return (
            f"expected an audit that can see copies, but {found.verdict}; audit with more held-out images, or give "
            "the model more images"
        )
    if found.copy_rate <= most:
        return None
    named = [
        f"{_named('sample', at, samples)} is like {_named('training image', found.originals[at], training)}"
        for at in found.copies[:_NAMED]
    ]
    more = [f"and {len(found.copies) - _NAMED} more"] if len(found.copies) > _NAMED else []
    return (
        f"expected at most {most:.1%} copies of training images, got {found.copy_rate:.1%} ({len(found.copies)} of "
        f"{found.samples} samples): {', '.join([*named, *more])}. In words: {found.verdict}. Look at the closest pairs "
        "with `syncgan audit`; try another mask generator (mask_gan.generator; docs/audit.md compares them), refuse "
        'such samples by filters.samples=["not_a_copy"], or give the model more images'
    )


def copy_check(
    real: RealImages,
    *,
    most: float = 0.0,
    pixels_only: bool = False,
    seed: int = 0,
    model: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Check:
    """Return a check for ``export(..., check=...)`` that refuses samples of which too many are copies.

    All samples are in memory at once while it compares them.

    Parameters
    ----------
    real : training and held-out images; see `audit`.
    most : share of copies that is let pass.
    pixels_only, seed : see `audit`.
    model : digest of the model that was fitted on the training images; samples of another one are then refused.
    progress : called with (what, steps done, steps).

    Raises
    ------
    ConfigError
        A share that is none.
    DataError
        From the check: too many copies, an audit that cannot see copies, or samples of another model.
    """
    if not 0 <= most <= 1:
        raise ConfigError(f"expected a share of copies from 0 to 1, got {most}; 0.05 lets 5 % pass")

    def check(exported: Exported) -> Checked:
        if model is not None and exported.header.get("model") != model:
            raise DataError(
                f"{exported.root}: holds samples of another model, of which these training images say nothing; give "
                "the run that they were drawn from"
            )
        images = [read_image(exported.root / file) for file in exported.files]
        synthetic = Labelled(images, exported.classes, names=exported.files)
        given = AuditImages(synthetic, real, exported.header.get("model"))
        found = audit_images(given, pixels_only=pixels_only, seed=seed, progress=progress)
        why = refusal(found, most=most, samples=exported.files, training=real.training.names)
        return Checked({"most": most, **found.summary()}, why)

    return check


def _named(what: str, position: int, names: Sequence[str] | None) -> str:
    return f"{what} {position}" if names is None else f"{what} {names[position]}"
