"""Resizing where torch has no operation of its own for it."""

import pytest
import torch

from syncgan import resizing
from syncgan.resizing import resized


@pytest.mark.parametrize("mode", ["area", "bilinear"])
@pytest.mark.parametrize("size", [(7, 5), (24, 20), (40, 64)])
def test_products_of_weights_resize_as_torch_does_with_the_same_gradient(mode, size, monkeypatch):
    images = torch.rand((2, 3, 24, 20), generator=torch.Generator().manual_seed(0))
    found = []
    for complete in (("cpu",), ()):
        monkeypatch.setattr(resizing, "_COMPLETE", complete)
        given = images.clone().requires_grad_(True)
        out = resized(given, size, mode)
        out.square().sum().backward()
        found.append((out.detach(), given.grad))
    (expected, slope), (out, own_slope) = found
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(own_slope, slope)
