"""The stain code: what a mask cannot tell a renderer about colour.

Two slides with the same mask differ in stain, light and thickness. The code of an image is the mean colour of each
level of its semantic map. The renderer is conditioned on it, so it need not average over stains, and at synthesis a
code is drawn from the class's own distribution, so that the stain varies as it does in the data.

Where the images of a class come from few slides, that distribution is theirs: a classifier learns the slides. What is
bare, the lowest level, shows stain and light but nothing of the class. So each code gets the bare colour of any image,
and with it what follows from that in the other levels. And slides to come differ from those that are there, however
alike these are: the amounts of dye of rendered images are varied beyond them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from syncgan import rng
from syncgan.data.tensors import one_hot, to_model

__all__ = ["StainPrior", "stain_codes", "with_other_amounts"]

_SPREAD = 0.25
_RIDGE = 0.1  # in variances of a standardised colour
_DARKEST = 0.01  # share of light that is let through at least, so that optical densities are finite
_VARIETY = 0.2  # standard deviation of the logarithm of an amount of dye; Tellez et al. take up to a fifth


def stain_codes(images: Tensor, maps: Tensor, levels: int) -> Tensor:
    """Return the mean colour of every level.

    Parameters
    ----------
    images : (N, 3, S, S) uint8.
    maps : (N, S, S) uint8, values 0 .. L-1.

    Returns
    -------
    (N, 3 * L) float32 in [-1, 1]; NaN where a level does not occur in the image.
    """
    return torch.cat([_code(image[None], mask[None], levels) for image, mask in zip(images, maps, strict=True)])


def _draws(seed: int) -> Tensor:
    """Return five uniform random numbers, and a normal one for each dye."""
    generator = rng.torch_generator(seed, "stain")
    return torch.cat([torch.rand(5, generator=generator), torch.randn(3, generator=generator)])


def _code(image: Tensor, mask: Tensor, levels: int) -> Tensor:
    share = one_hot(mask, levels).flatten(2)
    colour = to_model(image).flatten(2)
    sums = torch.einsum("nlp,ncp->nlc", share, colour)
    return (sums / share.sum(dim=2, keepdim=True)).flatten(1)


@functools.cache
def _dyes(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return matrices from densities of red, green and blue to amounts of haematoxylin, eosin and DAB, and back."""
    from skimage.color import hed_from_rgb, rgb_from_hed  # takes half a second, which samples alone need

    apart = torch.tensor(hed_from_rgb, dtype=torch.float32, device=device)
    return apart, torch.tensor(rgb_from_hed, dtype=torch.float32, device=device)


def with_other_amounts(images: Tensor, factors: Tensor) -> Tensor:
    """Return images with their amounts of three dyes multiplied, those of what looks bare as well.

    Parameters
    ----------
    images : (N, 3, H, W) in [-1, 1].
    factors : (N, 3), of haematoxylin, eosin and DAB.

    Returns
    -------
    (N, 3, H, W) in [-1, 1].

    References
    ----------
    Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", Analytical and Quantitative
    Cytology and Histology 23:291, 2001.
    """
    apart, together = _dyes(images.device)
    densities = -torch.log(((images + 1) / 2).clamp_min(_DARKEST))
    # One matrix for each image: apart into dyes, each times its factor, and together again.
    mixing = apart @ (factors[:, :, None] * together)
    return 2 * torch.exp(-torch.einsum("nchw,ncd->ndhw", densities, mixing)).clamp_max(1) - 1


class StainPrior:
    """The stain codes of the training images by class, standardised, and new codes like them.

    Attributes
    ----------
    centre, scale : (3L,) mean and standard deviation of the training codes.
    codes : (N, 3L) standardised codes; a level that an image lacks has the colour that it has in the image of the most
        similar stain, or the mean, zero, where no image has it.
    classes : (N,) class index of each code.
    present : (N, 3L) bool, whether the image itself has the level; None: each has all.
    variety : how far the amounts of dye of rendered images are varied, in fifths; 0 for not at all.
    """

    def __init__(
        self,
        centre: Tensor,
        scale: Tensor,
        codes: Tensor,
        classes: Tensor,
        present: Tensor | None = None,
        *,
        variety: float = 0.0,
    ) -> None:
        self.centre = centre
        self.scale = scale
        self.codes = codes
        self.classes = classes
        self.present = torch.ones_like(codes, dtype=torch.bool) if present is None else present.bool()
        self.variety = variety
        self._known: dict[tuple[torch.device, bool], tuple[Tensor, Tensor, Tensor]] = {}
        self._held: dict[torch.device, tuple[Tensor, ...]] = {}

    @classmethod
    def fit(cls, images: Tensor, maps: Tensor, classes: Tensor, levels: int, *, variety: float = 0.0) -> StainPrior:
        """Measure the codes of the training images."""
        codes = stain_codes(images, maps, levels)
        centre = codes.nanmean(dim=0).nan_to_num()
        scale = (codes - centre).square().nanmean(dim=0).sqrt().nan_to_num().clamp_min(1e-3)
        known = (codes - centre) / scale
        prior = cls(centre, scale, known.nan_to_num(nan=0.0), classes.clone(), ~known.isnan(), variety=variety)
        prior.codes = prior._completed(known)
        return prior

    def encode(self, images: Tensor, maps: Tensor, levels: int) -> Tensor:
        """Return standardised codes (N, 3L) of other images."""
        return self._completed((stain_codes(images, maps, levels) - self.centre) / self.scale)

    def sample(self, item_seeds: list[int], classes: Tensor | None) -> Tensor:
        """Draw one code per item: a training code of its class, moved along the difference of two others of the class.

        Moving by differences of members keeps colours that occur together together (a smoothed bootstrap). Then the
        colour of its lowest level is exchanged for that of an image of any class, and the other levels follow.

        Parameters
        ----------
        item_seeds : one seed per item; nothing else is random.
        classes : (N,) class index per item, or None to draw from all classes.

        Returns
        -------
        (N, 3L) float32 standardised codes, where `classes` is; no value is read back to the host.
        """
        draws = torch.stack([_draws(seed) for seed in item_seeds])
        codes, first, count = self._sorted(draws.device if classes is None else classes.device, classes is not None)
        draws = rng.moved(draws, codes.device)
        own = torch.zeros(len(draws), dtype=torch.int64, device=codes.device) if classes is None else classes
        chosen = torch.minimum((draws[:, :3] * count[own, None]).long(), count[own, None] - 1)
        base, one, other = codes[first[own, None] + chosen].unbind(dim=1)
        drawn = base + _SPREAD * draws[:, 3:4] * (one - other)
        bare = codes[(draws[:, 4] * len(codes)).long().clamp_max(len(codes) - 1), :3]
        _, _, following = self._moved(drawn.device)
        return drawn + (bare - drawn[:, :3]) @ following

    def varied(self, images: Tensor, item_seeds: Sequence[int]) -> Tensor:
        """Return rendered images with the amounts of each dye multiplied by a random factor (stain augmentation).

        Parameters
        ----------
        images : (N, 3, H, W) in [-1, 1].
        item_seeds : one seed per image; nothing else is random.

        Returns
        -------
        (N, 3, H, W) in [-1, 1]; no value is read back to the host.

        References
        ----------
        Tellez et al., "Quantifying the effects of data augmentation and stain color normalization in convolutional
        neural networks for computational pathology", Medical Image Analysis 58:101544, 2019.
        """
        if not self.variety:
            return images
        draws = rng.moved(torch.stack([_draws(seed)[5:] for seed in item_seeds]), images.device)
        return with_other_amounts(images, torch.exp(self.variety * _VARIETY * draws))

    def paint(self, codes: Tensor, onehot: Tensor) -> Tensor:
        """Return maps in the colours of their codes.

        Parameters
        ----------
        codes : (N, 3L) standardised codes.
        onehot : (N, L, S, S) one-hot maps.

        Returns
        -------
        (N, 3, S, S) float in [-1, 1].
        """
        centre, scale, *_ = self._moved(codes.device)
        colours = (codes * scale + centre).reshape(len(codes), -1, 3)
        return torch.einsum("nlhw,nlc->nchw", onehot, colours).clamp(-1, 1)

    def tensors(self) -> dict[str, Tensor]:
        """Return what must be saved."""
        tensors = {"centre": self.centre, "scale": self.scale, "codes": self.codes, "classes": self.classes}
        return {**tensors, "present": self.present.to(torch.uint8)}

    def _moved(self, device: torch.device) -> tuple[Tensor, ...]:
        """Return `centre`, `scale`, and what `_following` says on the device, moved there once."""
        if device not in self._held:
            tensors = self.centre, self.scale, self._following()
            self._held[device] = tuple(tensor.to(device) for tensor in tensors)
        return self._held[device]

    def _within(self) -> Tensor:
        """Return the codes (N, 3L) as deviations from the mean of their class."""
        within = self.codes.clone()
        for label in set(self.classes.tolist()):
            within[self.classes == label] -= within[self.classes == label].mean(dim=0)
        return within

    def _following(self) -> Tensor:
        """Return (3, 3L): how far every colour moves with those of the lowest level among images of one class."""
        within = self._within()
        bare = within[:, :3]
        ridge = _RIDGE * len(within) * torch.eye(bare.shape[1])
        following: Tensor = torch.linalg.solve(bare.T @ bare + ridge, bare.T @ within)
        following[:, :3] = torch.eye(bare.shape[1])
        return following

    def _sorted(self, device: torch.device, by_class: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return the codes sorted by class, and where each class begins and how many it has, on the device."""
        key = (device, by_class)
        if key not in self._known:
            classes = self.classes if by_class else torch.zeros_like(self.classes)
            count = torch.bincount(classes)
            parts = self.codes[classes.argsort(stable=True)], count.cumsum(0) - count, count
            self._known[key] = (parts[0].to(device), parts[1].to(device), parts[2].to(device))
        return self._known[key]

    def _completed(self, codes: Tensor) -> Tensor:
        """Return standardised codes (n, 3L) with what is NaN taken from the training code that is nearest otherwise.

        A mean over all stains would put a colour into an image that none of its stain has.
        """
        complete = codes.nan_to_num(nan=0.0)
        known = ~codes.isnan()
        for row in (~known).any(dim=1).nonzero()[:, 0].tolist():
            shared = self.present & known[row]
            apart = ((self.codes - complete[row]).square() * shared).sum(dim=1) / shared.sum(dim=1).clamp_min(1)
            for column in (~known[row]).nonzero()[::3, 0].tolist():  # three colours a level
                usable = self.present[:, column] & shared.any(dim=1)
                if usable.any():
                    nearest = int(apart.masked_fill(~usable, torch.inf).argmin())
                    complete[row, column : column + 3] = self.codes[nearest, column : column + 3]
        return complete
