"""What must hold on a CUDA device; skipped where there is none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from syncgan import MaskToImageCGAN, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.networks import upsampling
from syncgan.networks.image_generators import unet
from syncgan.training.checkpoint import CheckpointStore

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # What torch says of itself when it compiles: deprecated parts, float32 that could be faster, empty graphs.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
    pytest.mark.filterwarnings("ignore:The CUDA Graph is empty"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SynCGANConfig.preset("tiny").updated(["mask_gan.steps=100", "image_gan.steps=100"])
    augmenter = SynCGANAugmenter(config, device="cuda").fit(Phantom(8, image_size=48))
    folder = tmp_path_factory.mktemp("gpu") / "model"
    augmenter.save(folder)
    return folder


def test_a_model_fitted_on_the_gpu_samples_alike_on_the_cpu(saved: Path) -> None:
    on_gpu = SynCGANAugmenter.load(saved, device="cuda").sample("malignant", 32, seed=1)
    on_cpu = SynCGANAugmenter.load(saved, device="cpu").sample("malignant", 32, seed=1)
    assert on_gpu.images.device.type == "cuda"
    same_mask = (on_gpu.masks.cpu() == on_cpu.masks).flatten(1)
    assert same_mask.float().mean() >= 0.999
    equal = same_mask.all(dim=1)
    difference = (on_gpu.images.cpu().int() - on_cpu.images.int())[equal].abs()
    assert int(difference.max()) <= 2


def test_batches_stay_on_the_gpu(saved: Path) -> None:
    mix = SynCGANAugmenter.load(saved, device="cuda").batch_transform(p=1.0)
    images = torch.zeros((8, 3, 32, 32), dtype=torch.uint8, device="cuda")
    mixed, labels = mix(images, torch.arange(8, device="cuda") % 2)
    assert mixed.device.type == labels.device.type == "cuda"
    assert (mixed != images).any()


def test_synthetic_items_lie_where_the_real_ones_do(saved: Path) -> None:
    real = TensorDataset(torch.zeros((4, 3, 32, 32), dtype=torch.uint8, device="cuda"), torch.arange(4).cuda() % 2)
    wrapped = SynCGANAugmenter.load(saved, device="cuda").wrap(real, strategy=1.0)
    images, labels = next(iter(DataLoader(wrapped, batch_size=len(wrapped))))
    assert images.device.type == labels.device.type == "cuda"


@pytest.mark.filterwarnings("ignore:.*masks were still refused")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_batch_from_a_pool_never_waits_for_the_gpu(saved: Path) -> None:
    mix = SynCGANAugmenter.load(saved, device="cuda").batch_transform(p=1.0, pool=4)
    images = torch.zeros((8, 3, 32, 32), dtype=torch.uint8, device="cuda")
    labels = torch.arange(8, device="cuda") % 2
    mix(images, labels)  # draws the pool, and looks at the labels once
    try:
        torch.cuda.set_sync_debug_mode("error")
        mixed, _ = mix(images, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (mixed != images).flatten(1).any(dim=1).all()


def fit_renderer(*settings: str, **options: Any) -> MaskToImageCGAN:
    base = ["image_gan.steps=12", "image_gan.width=8", "image_gan.discriminator_width=8", "image_gan.batch_size=4"]
    config = SynCGANConfig.preset("tiny").updated([*base, "training.log_every=4", *settings])
    phantom = Phantom(4, image_size=32)
    images = torch.stack([torch.from_numpy(phantom.image(index)).permute(2, 0, 1) for index in range(8)])
    masks = torch.stack([torch.from_numpy(phantom.mask(index)) for index in range(8)])
    return MaskToImageCGAN(config, seed=1, device="cuda").fit(images, masks, list(phantom.targets), **options)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains_with_finite_losses_near_those_of_float32(precision: str) -> None:
    expected, model = fit_renderer("training.precision=fp32"), fit_renderer(f"training.precision={precision}")
    assert all(math.isfinite(value) for value in model.history_)
    # float16 skips its first steps, until its loss scale fits: its history may lack their lines.
    assert model.history_[-1] == pytest.approx(expected.history_[-1], rel=0.1)


def test_the_loss_scale_is_in_the_checkpoint_and_an_overflow_is_no_failure(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, identity={}, every_seconds=1e9, keep=1)
    fit_renderer("training.precision=fp16", "image_gan.r1_weight=1", checkpoints=store)
    (manifest,) = tmp_path.glob("step-*/manifest.json")
    state = json.loads(manifest.read_text())["state"]
    assert state["scaler"]["scale"] > 0
    assert state["skips"][0] == 0


@pytest.mark.parametrize("setting", ["training.compile=true", "training.cuda_graphs=true", "image_gan.r1_weight=1"])
def test_compiled_networks_keep_the_names_of_their_weights_and_learn_alike(setting: str) -> None:
    plain = fit_renderer("training.precision=fp32", *([setting] if "r1" in setting else []))
    compiled = fit_renderer("training.precision=fp32", "training.compile=true", setting)
    assert compiled.state()[0]["generator"].keys() == plain.state()[0]["generator"].keys()
    assert compiled.history_ == pytest.approx(plain.history_, rel=0.05)


def test_items_on_the_host_give_the_same_result_as_items_on_the_device() -> None:
    torch.backends.cudnn.deterministic = True
    try:
        host, device = (
            fit_renderer("training.precision=fp32", f"training.data_device={where}").history_
            for where in ("host", "device")
        )
    finally:
        torch.backends.cudnn.deterministic = False
    assert host == pytest.approx(device, rel=1e-2)  # sums in any order, which training amplifies


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (3, 24, 17, 33), (2, 128, 64, 64)])
@pytest.mark.parametrize("channels", [3, 64])
def test_the_kernels_of_the_upsampling_convolution_agree_with_torch(
    precision: torch.dtype, shape: tuple[int, ...], channels: int
) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    sizes = [shape, (channels, shape[1], 3, 3), (channels,)]
    inputs = [torch.randn(size, generator=generator, device="cuda", requires_grad=True) for size in sizes]
    with torch.autocast("cuda", torch.bfloat16, enabled=precision is torch.bfloat16):
        assert upsampling.load_kernels(inputs[0].device)
        found = upsampling.enlarge_and_convolve(*inputs)
    truth = upsampling.plain(*(operand.double() for operand in inputs))
    given = torch.randn(truth.shape, generator=generator, device="cuda")
    ours, theirs = (torch.autograd.grad(y, inputs, given.to(y.dtype)) for y in (found, truth))
    bound = 2e-2 if precision is torch.bfloat16 else 1e-5
    for value, true in zip((found, *ours), (truth, *theirs), strict=True):
        assert value.dtype is precision or value.dtype is torch.float32
        assert (value - true).norm() <= bound * true.norm()


def test_a_compiled_renderer_is_one_graph() -> None:
    config = SynCGANConfig.preset("tiny").image_gan
    network = unet(config=config, levels=2, image_size=32, classes=0).cuda().eval()
    maps = torch.rand(2, 2, 32, 32, device="cuda")
    with torch.no_grad():
        expected, found = network(maps), torch.compile(network, fullgraph=True)(maps)
    assert torch.allclose(found, expected, atol=1e-2)


def test_peak_memory_is_that_of_the_device() -> None:
    seen: list[Any] = []
    fit_renderer(observe=seen.append)
    assert 0 < seen[-1].peak_memory_mb < torch.cuda.get_device_properties(0).total_memory / 2**20


def test_steps_that_are_not_finite_are_skipped_without_a_look_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from syncgan.training.objectives import ImageObjective

    original = ImageObjective.discriminator_losses
    monkeypatch.setattr(
        ImageObjective,
        "discriminator_losses",
        lambda self, batch, fake: (
            term * (math.nan if batch.step in (4, 5, 6) else 1.0) for term in original(self, batch, fake)
        ),
    )
    model = fit_renderer("training.precision=fp32")
    assert model.stop_reason_ == "all steps done"
    assert all(bool(torch.isfinite(value).all()) for value in model.state()[0]["generator"].values())
