"""Everything that training changes: networks, their moving average, optimisers, step, history."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
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
    """The state of one GAN in training. `tensors` and `numbers` hold all of it; `load` puts it back.

    Attributes
    ----------
    step : steps done, skipped ones included.
    best, best_value, best_step : sampling weights with the lowest value of the score to select by.
    loss_sums, loss_count : of the steps since the last line of the log that were not skipped.
    skips : (3,) int64 on the device: steps skipped in all, in a row until now, and in the longest row since the last
        look.
    attempt : number of returns to an earlier state; part of the address of every batch, so that what failed is not
        tried again.
    accumulation : parts in which a batch passes through the networks; grows when memory runs out.
    """

    generator: nn.Module
    discriminator: nn.Module
    generator_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer
    ema: nn.Module | None
    ema_decay: float
    scaler: torch.amp.GradScaler
    skips: Tensor
    loss_count: Tensor
    loss_sums: dict[str, Tensor] = field(default_factory=dict)
    accumulation: int = 1
    attempt: int = 0
    step: int = 0
    history: list[float] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_value: float | None = None
    best_step: int | None = None
    stop_reason: str | None = None

    @classmethod
    def start(
        cls, objective: Objective, gan: GANConfig, scaler: torch.amp.GradScaler, accumulation: int = 1
    ) -> TrainingState:
        """Make optimisers and the moving average for the networks of `objective`."""
        generator, discriminator = objective.generator, objective.discriminator
        half_life = gan.ema_half_life_images
        device = next(generator.parameters()).device
        averaged = copy.deepcopy(generator).eval().requires_grad_(False) if half_life else None
        return cls(
            generator=generator.train(),
            discriminator=discriminator.train(),
            generator_optimiser=_adam(generator, gan.learning_rate, gan.betas),
            discriminator_optimiser=_adam(discriminator, gan.discriminator_learning_rate, gan.betas),
            ema=averaged,
            ema_decay=0.5 ** (gan.batch_size / half_life) if half_life else 0.0,
            scaler=scaler,
            skips=torch.zeros(3, dtype=torch.int64, device=device),
            loss_count=torch.zeros((), device=device),
            accumulation=accumulation,
        )

    # Whether a step was skipped is known on the device alone; these three leave it there, so that steps do not wait
    # for the host.

    @torch.no_grad()
    def advance(self, skipped: Tensor) -> None:
        """Count one step and, unless it was `skipped`, move the average towards the generator."""
        self.step += 1
        if self.ema is None:
            return
        decay = min(self.ema_decay, self.step / (self.step + 10))  # early averages forget faster
        # Running statistics are averaged too: they must belong to the averaged weights.
        averages, currents = _floats(self.ema), _floats(self.generator)
        changes = torch._foreach_sub(currents, averages)
        torch._foreach_mul_(changes, (1 - decay) * (~skipped).float())
        torch._foreach_add_(averages, changes)

    def add_losses(self, losses: Mapping[str, Tensor], skipped: Tensor) -> None:
        """Sum the losses of a step until the next log line."""
        for name, value in losses.items():
            value = torch.where(skipped, 0.0, value.detach().float())
            self.loss_sums[name] = self.loss_sums[name] + value if name in self.loss_sums else value
        self.loss_count = self.loss_count + (~skipped).float()

    def count_skips(self, failed: Tensor) -> None:
        """Count a step that was skipped because a loss was not finite."""
        total, row, longest = self.skips
        row = (row + 1) * failed
        self.skips = torch.stack([total + failed, row, torch.maximum(longest, row)])

    def close_interval(self) -> dict[str, float]:
        """Return the means of the losses since the last call; none when every step was skipped."""
        count = int(self.loss_count)
        means = {name: float(value) / count for name, value in self.loss_sums.items()} if count else {}
        self.loss_sums, self.loss_count = {}, torch.zeros_like(self.loss_count)
        return means

    def is_finite(self) -> bool:
        """Tell whether every weight, running statistic and moment is finite."""
        groups = self.tensors().values()
        return all(bool(torch.isfinite(value).all()) for group in groups for value in group.values())

    def sampling_generator(self) -> nn.Module:
        """Return the network that samples: the moving average, or the generator itself."""
        return self.ema if self.ema is not None else self.generator

    def keep_if_best(self, values: Mapping[str, float], *, by: str | None) -> None:
        """Keep the sampling weights when the score `by` is the lowest so far; None keeps the last."""
        value = values.get(by, math.nan) if by is not None else math.nan
        if not math.isfinite(value) or (self.best_value is not None and value >= self.best_value):
            return
        self.best = {name: value.detach().clone() for name, value in self.sampling_generator().state_dict().items()}
        self.best_value, self.best_step = value, self.step

    def chosen_weights(self) -> dict[str, Tensor]:
        """Return the weights to keep: the best by the score to select by, or the last."""
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
            "best_value": self.best_value,
            "best_step": self.best_step,
            "stop_reason": self.stop_reason,
            # A float32 survives the way through Python's float and JSON unchanged.
            "loss_sums": {name: float(value) for name, value in self.loss_sums.items()},
            "loss_count": int(self.loss_count),
            "skips": self.skips.tolist(),
            "attempt": self.attempt,
            "accumulation": self.accumulation,
            "scaler": self.scaler.state_dict(),
        }

    def load(self, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """Put a saved state back."""
        self.generator.load_state_dict(tensors["generator"])
        self.discriminator.load_state_dict(tensors["discriminator"])
        _load_optimiser(self.generator_optimiser, tensors["generator_optimiser"])
        _load_optimiser(self.discriminator_optimiser, tensors["discriminator_optimiser"])
        if self.ema is not None:
            self.ema.load_state_dict(tensors["ema"])
        device = next(self.generator.parameters()).device
        best = tensors.get("best")
        self.best = None if best is None else {name: value.to(device) for name, value in best.items()}
        self.step = int(numbers["step"])
        self.history = [float(value) for value in numbers["history"]]
        value, step, reason = numbers["best_value"], numbers["best_step"], numbers["stop_reason"]
        self.best_value, self.best_step = None if value is None else float(value), None if step is None else int(step)
        self.stop_reason = None if reason is None else str(reason)
        sums = {name: float(value) for name, value in numbers["loss_sums"].items()}
        self.loss_sums = {name: torch.tensor(value, device=device) for name, value in sums.items()}
        self.loss_count = torch.tensor(float(numbers["loss_count"]), device=device)
        self.skips = torch.tensor(numbers["skips"], dtype=torch.int64, device=device).reshape(3)
        self.attempt = int(numbers["attempt"])
        self.accumulation = max(self.accumulation, int(numbers["accumulation"]))
        if numbers["scaler"]:
            self.scaler.load_state_dict(numbers["scaler"])


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
        laid_out = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value.clone()
        state.setdefault(int(index), {})[name] = laid_out.detach()
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
