import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncgan import MaskGAN, SynCGANConfig, rng
from syncgan.errors import ConfigError

addresses = st.lists(st.one_of(st.text(max_size=8), st.integers(-(2**40), 2**40)), max_size=4)


def test_seed_for_is_the_first_63_bits_of_blake2b_of_the_address():
    digest = hashlib.blake2b(b"(7, 'mask_gan', 'HSIL', 12)", digest_size=8).digest()
    assert rng.seed_for(7, "mask_gan", "HSIL", 12) == int.from_bytes(digest, "big") // 2


def test_seed_for_is_the_same_in_another_process():
    code = "from syncgan.rng import seed_for; print(seed_for(7, 'Größe', 3))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{rng.seed_for(7, 'Größe', 3)}\n".encode()}


@given(st.integers(), addresses)
def test_seed_for_fits_every_generator(seed, address):
    assert 0 <= rng.seed_for(seed, *address) < 2**63


@given(st.integers(0, 99), addresses, st.integers(0, 99), addresses)
def test_different_addresses_have_different_seeds(seed, address, other_seed, other_address):
    same = (seed, *address) == (other_seed, *other_address)
    assert (rng.seed_for(seed, *address) == rng.seed_for(other_seed, *other_address)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [((3,), ("3",)), (("a", "b"), ("ab",)), (("a', 'b",), ("a", "b")), ((), ("",)), ((1, 2), (12,))],
)
def test_addresses_that_look_alike_are_told_apart(one, other):
    assert rng.seed_for(0, *one) != rng.seed_for(0, *other)


def test_numpy_integers_address_the_same_stream_as_python_integers():
    assert rng.seed_for(np.int64(5), "x", np.int32(3)) == rng.seed_for(5, "x", 3)


def test_generators_of_one_address_repeat_and_of_two_differ():
    draws = [rng.numpy_generator(0, "a").random(8), rng.numpy_generator(0, "a").random(8)]
    assert np.array_equal(*draws)
    assert not np.array_equal(draws[0], rng.numpy_generator(0, "b").random(8))
    first, again, other = (torch.randn(8, generator=rng.torch_generator(0, name)) for name in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_build_depends_on_the_address_alone_and_leaves_the_global_state():
    before = torch.get_rng_state()
    first = rng.build(lambda: torch.nn.Linear(3, 3), 0, "generator").weight
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again = rng.build(lambda: torch.nn.Linear(3, 3), 0, "generator").weight
    other = rng.build(lambda: torch.nn.Linear(3, 3), 1, "generator").weight
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_seed_of_numpys_strings_is_that_of_the_text():
    assert rng.seed_for(1, np.str_("HSIL")) == rng.seed_for(1, "HSIL")


def test_the_generator_of_apples_gpus_is_seeded_and_restored(monkeypatch):
    state = ["before"]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state[0])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda value: state.__setitem__(0, value))
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: state.__setitem__(0, seed))
    with rng.seeded(torch.device("mps"), 3, "dropout"):
        assert state == [rng.seed_for(3, "dropout")]
    assert state == ["before"]


def test_build_restores_the_global_state_when_the_factory_fails():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        rng.build(lambda: torch.randn(3) / (1 // 0), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_default_device_or_type_of_torch_is_refused_with_what_to_do():
    masks = np.eye(8, dtype=np.uint8)[None].repeat(4, axis=0)
    model = MaskGAN(device="cpu")
    with torch.device("meta"), pytest.raises(ConfigError, match=r"got meta; put `with torch\.device\('cpu'\):` around"):
        model.fit(masks)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ConfigError, match=r"got torch\.float64; call torch\.set_default_dtype"):
            model.fit(masks)
    finally:
        torch.set_default_dtype(torch.float32)
    fitted = MaskGAN(SynCGANConfig.preset("tiny").updated(["mask_gan.generator=warp"]), device="cpu").fit(masks)
    with torch.device("meta"), pytest.raises(ConfigError, match="default device to be the CPU"):
        fitted.sample(1)
    with torch.device("meta"), torch.device("cpu"):
        assert model.fit(masks).sample(2).shape == (2, 1, 128, 128)
