"""Ranger, the optimizer that HyperStyle, pSp and e4e are trained with: rectified Adam, gradients without their mean,
and a look-ahead (Liu et al., ICLR 2020; Yong et al., ECCV 2020; Zhang et al., NeurIPS 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hyperstyle.errors import ConfigError


class Ranger(Optimizer):
    """Does, step for step, what the published trainings did, with their defaults.

    - Centralisation: the mean over all axes but the first leaves every gradient of two or more axes, in `grad` itself.
    - Rectification: the first steps, 5 with the default betas, follow the momentum alone; then they are Adam's, scaled.
    - Look-ahead: every `k` steps the parameters go back to `alpha` of the way from where they were `k` steps before.

    Parameter groups may differ in `lr`, `k`, `eps`, `weight_decay` and `betas`; yet the step size, which depends on
    `betas`, is that of the first group for all, as in the reference.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        alpha: share of the way that a look-ahead keeps, above 0, at most 1.
        k: steps between two look-aheads.
        threshold: length of the averaged past from which steps are rectified, and not the momentum alone.
        betas: decay of the averages of gradients and of their squares.
        eps: added to the root of the averaged squares.
        weight_decay: `lr` times this share of a parameter is taken away in each step (decoupled).

    Raises:
        ConfigError: a number out of its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        *,
        alpha: float = 0.5,
        k: int = 6,
        threshold: float = 5.0,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
    ) -> None:
        if not (lr >= 0 and 0 < alpha <= 1 and k >= 1 and all(0 <= beta < 1 for beta in betas) and eps > 0):
            raise ConfigError(
                f"Ranger with lr={lr}, alpha={alpha}, k={k}, betas={betas}, eps={eps}: expected lr from 0 up, alpha "
                "above 0 and at most 1, k of 1 or more, betas from 0 to below 1 and eps above 0."
            )
        super().__init__(params, {"lr": lr, "k": k, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.alpha, self.threshold = alpha, threshold

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step. `closure`, where given, computes the gradients anew and returns the loss, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sizes: dict[int, tuple[bool, float]] = {}  # of a step number: one for all groups
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                    state["slow_buffer"] = parameter.detach().clone()
                state["step"] += 1
                if state["step"] not in sizes:
                    sizes[state["step"]] = self._size(state["step"], *group["betas"])
                self._update(parameter, parameter.grad, state, group, sizes[state["step"]])
        return loss

    def _size(self, step: int, beta1: float, beta2: float) -> tuple[bool, float]:
        """Whether step 1, 2, ... is rectified, and its size as a multiple of the learning rate."""
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / (1 - beta2**step)
        unbiased = 1 / (1 - beta1**step)
        if length <= self.threshold:
            return False, unbiased
        ratio = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
        return True, unbiased * math.sqrt((1 - beta2**step) * ratio)

    def _update(
        self,
        parameter: Tensor,
        gradient: Tensor,
        state: dict[str, Any],
        group: dict[str, Any],
        size: tuple[bool, float],
    ) -> None:
        if gradient.ndim > 1:
            gradient.sub_(gradient.mean(tuple(range(1, gradient.ndim)), keepdim=True))
        beta1, beta2 = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        parameter.mul_(1 - group["weight_decay"] * group["lr"])
        rectified, step_size = size
        if rectified:
            parameter.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-step_size * group["lr"])
        else:
            parameter.add_(mean, alpha=-step_size * group["lr"])
        if state["step"] % group["k"] == 0:
            parameter.copy_(state["slow_buffer"].lerp_(parameter, self.alpha))
