"""Two processes give the gradients that one gives for the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from hyperstyle.training.distributed import average_tensors, gather, join, merge, on_first, rank, world
from hyperstyle.training.optimization import TaskOptimizer
from hyperstyle.training.options import OptimOptions
from hyperstyle.training.task import Phase, Scale

_PROGRAM = """
import atexit, os, sys
from pathlib import Path
import torch
from torch import nn
from hyperstyle.training import distributed
from hyperstyle.training.distributed import average_figures, average_tensors, gather, join, merge, on_first, rank, world

def threads():
    return {task.name: (task / "comm").read_text() for task in Path("/proc/self/task").glob("*")}  # Linux only

def none_is_left():
    if left := {number: name for number, name in threads().items() if number in started}:
        print("threads run at exit:", left, file=sys.stderr, flush=True)
        os._exit(3)

atexit.register(none_is_left)  # before `join`: runs after what `join` registers
distributed._BUCKET = 4  # the weight alone and the bias alone
before = threads()
join()
started = threads().keys() - before.keys()
assert world() == 2 and (started or sys.platform != "linux")
torch.manual_seed(0)
network, x, y = nn.Linear(5, 3), torch.randn(8, 5), torch.randn(8, 3)
mine = torch.arange(8)[rank()::2]
(network(x[mine]) - y[mine]).square().mean().backward()
average_tensors(p.grad for p in network.parameters())
found = [p.grad.clone() for p in network.parameters()]
network.zero_grad()
(network(x) - y).square().mean().backward()
for a, p in zip(found, network.parameters()):
    torch.testing.assert_close(a, p.grad)
assert gather(torch.tensor([rank(), 10 + rank()])).tolist() == [0, 10, 1, 11]
assert average_figures({"a": rank(), "b": 3.0}, torch.device("cpu")) == {"a": 0.5, "b": 3.0}
assert merge({str(rank()): "mine", "both": "same"}) == {"0": "mine", "1": "mine", "both": "same"}
on_first(lambda: Path(sys.argv[1]).write_text(str(rank())))
assert Path(sys.argv[1]).read_text() == "0"  # written by the first process before any goes on
sys.path.insert(0, sys.argv[2])
from test_distributed import BATCH, state_after
torch.save(state_after(BATCH[rank()::2], accumulate=1), f"{sys.argv[1]}-{rank()}.pt")
"""
BATCH = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))


class Normalized:
    """A task with batch normalization, which meets every batch twice, as a network with passes does."""

    main = "network"

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.modules = {"network": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))}
        self.optimizers = {"network": torch.optim.SGD(self.modules["network"].parameters(), 0.1)}

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> dict[str, float]:
        for shift in (0, step + 1):
            loss = self.modules["network"](crop + shift).square().mean()
            scale(loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item()}

    def phases(self, step: int) -> list[Phase]:
        return [Phase(self.train_step, ("network",))]


def state_after(crops: Tensor, *, accumulate: int) -> dict[str, Tensor]:
    """Weights and running statistics after three steps with this process's part of the batch."""
    task = Normalized()
    updates = TaskOptimizer(task, OptimOptions(batch=8, accumulate=accumulate))  # type: ignore[arg-type]
    for i in range(3):
        updates.step(i, crops)
    return task.modules["network"].state_dict()


def test_two_processes_give_the_gradients_of_the_whole_batch_and_the_statistics_of_its_parts(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for number in ("0", "1"):
        place = {"RANK": number, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "first"), str(Path(__file__).parent)]
        environment = {**os.environ, **place, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    alone = state_after(BATCH, accumulate=2)
    assert alone["1.running_mean"].abs().min() > 1e-3
    for number in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"first-{number}.pt", weights_only=True), alone)


def test_a_process_alone_does_all_the_work() -> None:
    join()
    weight = torch.ones(2, requires_grad=True)
    (weight * 3).sum().backward()
    assert weight.grad is not None
    average_tensors([weight.grad])
    assert weight.grad.tolist() == [3.0, 3.0]
    assert (rank(), world()) == (0, 1)
    assert gather(torch.arange(2)).tolist() == [0, 1]
    assert merge({"a": "b"}) == {"a": "b"}
    done: list[int] = []
    on_first(lambda: done.append(1))
    assert done == [1]
