"""What is chosen for a CUDA device can be told without one: precision, compilation, CUDA graphs, fused optimiser."""

import pytest
import torch

from syncgan.config import ImageGANConfig, TrainingConfig
from syncgan.errors import ConfigError
from syncgan.networks import upsampling
from syncgan.training.precision import Precision, as_written, compile_networks, resolve_device, resolve_precision
from syncgan.training.state import TrainingState

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Network(torch.nn.Linear):
    """Records how it was compiled instead of compiling."""

    modes = ()

    def compile(self, *, mode=None):
        self.modes = (*self.modes, mode)


def modes(device, *, gan=None, **settings):
    networks = Network(1, 1), Network(1, 1)
    done = compile_networks(*networks, gan=gan or ImageGANConfig(), training=TrainingConfig(**settings), device=device)
    return done, *(network.modes for network in networks)


def test_nothing_is_compiled_unless_asked_for():
    assert modes(CUDA) == (False, (), ())


def test_compilation_replays_graphs_only_on_cuda_and_only_when_asked_for():
    assert modes(CUDA, compile=True) == (True, (None,), (None,))
    assert modes(CUDA, cuda_graphs=True) == (True, ("reduce-overhead",), ("reduce-overhead",))
    assert modes(CPU, compile=True) == (True, (None,), (None,))


def test_a_discriminator_whose_gradient_is_penalised_is_not_compiled():
    assert modes(CUDA, gan=ImageGANConfig(r1_weight=1.0), compile=True) == (True, (None,), ())


@pytest.mark.parametrize("multiplies", [True, False])
def test_bfloat16_is_the_default_exactly_where_the_hardware_multiplies_it(monkeypatch, multiplies):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: multiplies)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: multiplies)
    expected = torch.bfloat16 if multiplies else None
    assert resolve_precision("auto", CUDA) is resolve_precision("auto", CPU) is expected


def test_the_optimisers_are_fused():
    class Objective:
        generator, discriminator = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)

    state = TrainingState.start(Objective(), ImageGANConfig(), Precision("fp32", CPU).scaler)
    for optimiser in (state.generator_optimiser, state.discriminator_optimiser):
        assert all(group["fused"] for group in optimiser.param_groups)


def test_the_commuted_form_in_bfloat16_gives_gradients_of_its_weights_near_those_in_float32():
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((2, 8, 6, 6), (4, 8, 3, 3)))
    x = x.contiguous(memory_format=torch.channels_last)
    gradients = []
    for enabled in (False, True):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, weight)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y = upsampling.commuted(*inputs, None)
        assert y.dtype is (torch.bfloat16 if enabled else torch.float32)
        gradients.append(torch.autograd.grad(y.float().square().mean(), inputs))
    for exact, rounded in zip(*gradients, strict=True):
        assert rounded.dtype is torch.float32
        assert (rounded - exact).abs().max() <= 0.03 * exact.abs().max()


@pytest.mark.parametrize(("seen", "expected"), [(1, "cuda:0"), (4, "cuda:3")])
def test_a_process_takes_its_own_gpu_or_the_only_one_that_it_is_shown(monkeypatch, seen, expected):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)
    assert resolve_device("auto") == torch.device(expected)


def test_a_process_without_a_gpu_of_its_number_is_refused(monkeypatch):
    def empty(*_, device):
        raise RuntimeError("CUDA error: invalid device ordinal")

    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(ConfigError, match=r"'cuda:3' cannot be used here \(CUDA error: invalid device ordinal\)"):
        resolve_device("auto")


def test_compiled_code_is_set_aside_and_put_back():
    network = torch.nn.Linear(1, 1)
    network._compiled_call_impl = compiled = lambda *_: None
    with as_written(network) as plain:
        assert plain(torch.ones(1, 1)) is not None
    assert network._compiled_call_impl is compiled
