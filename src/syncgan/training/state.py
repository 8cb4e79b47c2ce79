"""Everything that training changes: networks, their moving average, optimisers, step, history."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from syncgan.config import GANConfig

if TYPE_CHECKING:
    from syncgan.training.loop import Objective

__all__ = ["TrainingState"]


@dataclass
class TrainingState:
    """The state of one GAN in training. `tensors` and `numbers` hold all of it; `load` puts it back."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer
    ema: nn.Module | None
    ema_decay: float
    step: int = 0
    history: list[float] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_validation: float | None = None
    best_step: int | None = None
    stop_reason: str | None = None
    loss_sums: dict[str, Tensor] = field(default_factory=dict)
    loss_count: int = 0

    @classmethod
    def start(cls, objective: Objective, gan: GANConfig) -> TrainingState:
        """Make optimisers and the moving average for the networks of `objective`."""
        generator, discriminator = objective.generator, objective.discriminator
        half_life = gan.ema_half_life_images
        averaged = copy.deepcopy(generator).eval().requires_grad_(False) if half_life else None
        return cls(
            generator=generator.train(),
            discriminator=discriminator.train(),
            generator_optimiser=_adam(generator, gan.learning_rate, gan.betas),
            discriminator_optimiser=_adam(discriminator, gan.discriminator_learning_rate, gan.betas),
            ema=averaged,
            ema_decay=0.5 ** (gan.batch_size / half_life) if half_life else 0.0,
        )

    @torch.no_grad()
    def advance(self, generator: nn.Module) -> None:
        """Count one step and move the average towards `generator`; early averages forget faster."""
        self.step += 1
        if self.ema is None:
            return
        decay = min(self.ema_decay, self.step / (self.step + 10))
        # Running statistics are averaged too: they must belong to the averaged weights.
        averages, currents = _floats(self.ema), _floats(generator)
        torch._foreach_lerp_(averages, currents, 1 - decay)

    def add_losses(self, losses: dict[str, Tensor]) -> None:
        """Sum losses on their device until the next log line, so that steps do not wait for the host."""
        for name, value in losses.items():
            value = value.detach().float()
            self.loss_sums[name] = self.loss_sums[name] + value if self.loss_count else value
        self.loss_count += 1

    def mean_losses(self) -> dict[str, float]:
        """Return the means of the losses since `forget_losses`."""
        return {name: float(value) / self.loss_count for name, value in self.loss_sums.items()}

    def forget_losses(self) -> None:
        """Start the next interval of the log."""
        self.loss_sums, self.loss_count = {}, 0

    def sampling_generator(self) -> nn.Module:
        """Return the network that samples: the moving average, or the generator itself."""
        return self.ema if self.ema is not None else self.generator

    def keep_if_best(self, validation: float | None) -> None:
        """Keep the sampling weights when `validation` is the lowest loss so far."""
        if validation is None or not math.isfinite(validation):
            return
        if self.best_validation is not None and validation >= self.best_validation:
            return
        self.best = {name: value.detach().clone() for name, value in self.sampling_generator().state_dict().items()}
        self.best_validation, self.best_step = validation, self.step

    def chosen_weights(self) -> dict[str, Tensor]:
        """Return the weights to keep: the best by validation, or the last."""
        return self.best if self.best is not None else self.sampling_generator().state_dict()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return every tensor of the state by group."""
        groups = {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimiser": _flat_optimiser(self.generator_optimiser),
            "discriminator_optimiser": _flat_optimiser(self.discriminator_optimiser),
        }
        if self.ema is not None:
            groups["ema"] = self.ema.state_dict()
        if self.best is not None:
            groups["best"] = self.best
        return groups

    def numbers(self) -> dict[str, Any]:
        """Return the rest of the state, JSON-compatible."""
        return {
            "step": self.step,
            "history": self.history,
            "best_validation": self.best_validation,
            "best_step": self.best_step,
            "stop_reason": self.stop_reason,
            "loss_sums": {name: float(value) for name, value in self.loss_sums.items()},
            "loss_count": self.loss_count,
        }

    def load(self, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """Put a saved state back."""
        self.generator.load_state_dict(tensors["generator"])
        self.discriminator.load_state_dict(tensors["discriminator"])
        _load_optimiser(self.generator_optimiser, tensors["generator_optimiser"])
        _load_optimiser(self.discriminator_optimiser, tensors["discriminator_optimiser"])
        if self.ema is not None:
            self.ema.load_state_dict(tensors["ema"])
        self.best = tensors.get("best")
        self.step = int(numbers["step"])
        self.history = [float(value) for value in numbers["history"]]
        self.best_validation = numbers["best_validation"]
        self.best_step = numbers["best_step"]
        self.stop_reason = numbers["stop_reason"]
        device = next(self.generator.parameters()).device
        self.loss_sums = {name: torch.tensor(value, device=device) for name, value in numbers["loss_sums"].items()}
        self.loss_count = int(numbers["loss_count"])


def _floats(network: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]


def _adam(network: nn.Module, learning_rate: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=betas, fused=True)


def _flat_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten Adam's moments to ``"INDEX.NAME"`` -> tensor; its hyper-parameters come from the configuration."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{name}": value for index, moments in state.items() for name, value in moments.items()}


def _load_optimiser(optimiser: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        # Fused Adam walks raw memory, so a moment must lie in memory as its parameter does (channels_last).
        laid_out = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        state.setdefault(int(index), {})[name] = laid_out.detach()
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
