"""Contract checks for plug-ins: try one on a few synthetic inputs and say precisely what is wrong.

For the test suite of whoever writes a plug-in, as one test::

    from syncgan.testing import check_segmenter

    def test_my_segmenter():
        check_segmenter("my-stain")

or as one test for each rule of the contract::

    import pytest
    from syncgan.testing import segmenter_rules

    @pytest.mark.parametrize("rule", segmenter_rules("my-stain"), ids=str)
    def test_my_segmenter(rule):
        rule()

A check, like a rule, returns None or raises `syncgan.ContractError`, whose message ends with the rule. Segmenters, mask
generators, image generators, discriminators and sample filters have both.
"""

from __future__ import annotations

from syncgan.testing.discriminators import check_discriminator, discriminator_rules
from syncgan.testing.filters import check_sample_filter, sample_filter_rules
from syncgan.testing.generators import (
    check_image_generator,
    check_mask_generator,
    image_generator_rules,
    mask_generator_rules,
)
from syncgan.testing.rules import Rule
from syncgan.testing.segmenters import check_segmenter, segmenter_rules

__all__ = [
    "Rule",
    "check_discriminator",
    "check_image_generator",
    "check_mask_generator",
    "check_sample_filter",
    "check_segmenter",
    "discriminator_rules",
    "image_generator_rules",
    "mask_generator_rules",
    "sample_filter_rules",
    "segmenter_rules",
]
