"""A task that is not pretraining: a regression by one Linear, with batches, loss and backward of its own.

Noise on the inputs is drawn from the task's generator, so that a resumed run needs its state; the order of rows is
drawn anew in each epoch, so that it needs the position.

    python tests/helpers/regression.py FOLDER '{"resume": true, ...}'     # the arguments of `train`
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from numbert.nn.layers import Linear
from numbert.nn.module import Module, Parameter
from numbert.progress import Progress
from numbert.train.processes import Processes
from numbert.train.run import Run, new_folder
from numbert.train.schedule import Plan
from numbert.train.task import Evaluation, Task
from numbert.train.trainer import Intervals, Trainer

FEATURES, TARGETS, ROWS, BATCH = 5, 3, 40, 8


class Regression(Module):
    """y = x W^T + b, times a scale for each target that may be frozen."""

    def __init__(self, dtype, frozen):
        self.linear = Linear(FEATURES, TARGETS, seed=1, dtype=dtype)
        self.scale = Parameter.full((TARGETS,), 1.5, dtype)
        self.scale.trainable = not frozen

    def forward(self, x):
        """[b,x] -> [b,y]"""
        product = self.linear(x)
        self.remember(product=product)
        return product * self.scale.data

    def backward(self, d_y):
        product = self.recall().product
        self.scale.add_grad((d_y * product).sum(axis=0))
        return self.linear.backward(d_y * self.scale.data)


class RegressionTask(Task):
    """The mean over rows of the squared error, summed over targets.

    Args:
        noise: standard deviation of what is added to the inputs.
        values: what the evaluations are to give, one after the other, instead of the error.
    """

    unit = "rows"

    def __init__(self, dtype=np.float32, noise=0.1, frozen=False, values=None, lower_is_better=True):
        self.model, self.rng = Regression(dtype, frozen), np.random.default_rng(2)
        self.noise, self.values, self.lower_is_better = noise, values, lower_is_better
        rng = np.random.default_rng(3)
        self.x = rng.standard_normal((2 * ROWS, FEATURES)).astype(dtype)
        self.y = np.tanh(self.x @ rng.standard_normal((FEATURES, TARGETS))).astype(dtype)
        self.row = 0

    def next_batch(self, step):
        chosen = []
        while len(chosen) < BATCH:
            epoch, place = divmod(self.row, ROWS)
            chosen.append(np.random.default_rng([4, epoch]).permutation(ROWS)[place])
            self.row += 1
        x = self.x[chosen]
        return x + (self.noise * self.rng.standard_normal(x.shape)).astype(x.dtype), self.y[chosen]

    def size(self, batch):
        return len(batch[0])

    def part(self, batch, index, count):
        return tuple(array[index::count] for array in batch)

    def position(self):
        return {"row": self.row}

    def go_to(self, position):
        self.row = int(position["row"])

    def loss_and_backward(self, part, whole):
        x, y = part
        error = self.model(x) - y
        self.model.backward(2 * error / len(whole[0]))
        return np.array([(error.astype(float) ** 2).sum(), (np.abs(error) < 0.5).all(axis=1).sum()]) / len(
            whole[0]
        )

    def scores(self, steps):
        rows = [self.size(batch) for _, batch in steps]
        loss, near = np.average([sums for sums, _ in steps], axis=0, weights=rows)
        return {"loss": float(loss), "near": float(near)}

    def evaluate(self):
        if self.values is not None:
            value = self.values.pop(0)
        else:
            error = self.model(self.x[ROWS:]) - self.y[ROWS:]
            self.model.forget()
            value = float((error.astype(float) ** 2).sum(axis=1).mean())
        return Evaluation(value, {"held_out": {"value": value}}, f"held out: {value:.4f}")

    def save(self, folder):
        save_file(self.model.state_dict(), folder / "weights.safetensors")

    def load(self, folder):
        self.model.load_state_dict(load_file(folder / "weights.safetensors"))


def train(folder, resume=False, steps=30, accumulate=1, save=7, evaluate=5, keep=2, shown=False, **task):
    """Trains in a new folder, or goes on in it -> the task."""
    folder, settings = Path(folder), {"steps": steps, "accumulate": accumulate}
    made = RegressionTask(**task)
    plan = Plan(steps, learning_rate=0.05, warmup_steps=3, accumulate=accumulate)

    def rest(run):
        trainer = Trainer(run, made, plan, Intervals(save, evaluate, keep), Progress(shown), Processes())
        if saved := run.steps():
            trainer.resume(saved[-1])
        trainer.train()
        return made

    if resume:
        run = Run.read(folder)
        run.refuse_difference(settings)
        run.clean()
        return rest(run)
    with new_folder(folder):
        return rest(Run.begin(folder, settings))


if __name__ == "__main__":
    train(sys.argv[1], **json.loads(sys.argv[2]))
    assert "numbert.pretrain" not in sys.modules
    assert "numbert.text" not in sys.modules
