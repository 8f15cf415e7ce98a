"""The training loop, with its checkpoints, metrics and evaluations."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbert.errors import InputError
from numbert.files.atomic import to_disk
from numbert.nn.array import Array
from numbert.nn.workspace import workspace
from numbert.progress import Progress
from numbert.randomness import Purpose, generator
from numbert.train.interrupts import noted_interrupts
from numbert.train.metrics import Metrics
from numbert.train.optimizer import clip_factor, grad_norm
from numbert.train.processes import Processes
from numbert.train.run import Run
from numbert.train.schedule import Plan
from numbert.train.snapshot import read_checkpoint, write_checkpoint
from numbert.train.state import State
from numbert.train.task import Task
from numbert.train.watch import first_not_finite, gradient_norms, is_finite, without_gradient

STEPS_IN_A_LINE = 10  # of the metrics


@dataclass(frozen=True)
class Intervals:
    """How often something is done besides training. It has no effect on what is computed.

    Attributes:
        save: the number of steps between checkpoints.
        evaluate: the number of steps between evaluations; the best checkpoint so far is kept.
        keep: how many of the latest checkpoints stay besides the best.
    """

    save: int
    evaluate: int
    keep: int = 2


class Trainer:
    """Trains a task's model in a run's folder: holds the task, the optimizer and the state.

    Args:
        run: the run's folder, in which only the first of several processes writes.
        task: what to train; its model is as it is before the first step.
        plan: schedule, optimizer and clipping.
        intervals: when to save and to evaluate.
        show: where to report.
        processes: the processes that share each batch.
    """

    def __init__(
        self, run: Run, task: Task, plan: Plan, intervals: Intervals, show: Progress, processes: Processes
    ) -> None:
        self.run, self.task, self.plan, self.intervals = run, task, plan, intervals
        self.show, self.processes = show, processes
        self.optimizer = plan.optimizer(task.model)
        self.state = State()
        if processes.rank:  # what is drawn is not to be the same in all processes
            self._draw_anew()

    def resume(self, step: int) -> None:
        """Loads the checkpoint of a step, from which `train` then goes on.

        Raises:
            InputError: the checkpoint is not whole.
        """
        self.state = read_checkpoint(self.run.checkpoint(step), self.task, self.optimizer)
        rank = self.processes.rank
        if rank < len(self.state.generators):
            self.task.rng.bit_generator.state = self.state.generators[rank]
        else:  # there were fewer processes
            self._draw_anew()

    def _draw_anew(self) -> None:
        rng = generator(self.plan.seed, Purpose.DROPOUT, self.processes.rank, self.state.step)
        self.task.rng.bit_generator.state = rng.bit_generator.state

    # --- the loop ---------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Trains from the step of the state to the last one, and saves the model in the run's folder.

        Raises:
            InputError: the loss or the gradient is infinite or not a number, or a parameter got no gradient.
            KeyboardInterrupt: SIGINT or SIGTERM came; the step is finished and a checkpoint is written first.
        """
        state, task, plan, every = self.state, self.task, self.plan, self.intervals
        metrics = None
        if self.processes.first:
            metrics = Metrics(self.run.metrics, state.step)
            self.run.keep(every.keep, state.best_step)  # a run that was killed may have left one too many
        recent: list[tuple[Array, Any]] = []  # scores and batches since the last line of metrics
        task.model.train()
        self.show.start(plan.steps, state.step, task.shown, task.unit)
        try:
            # What is no longer finite ends the run with a message, and needs no warning.
            with noted_interrupts() as interrupts, np.errstate(over="ignore", invalid="ignore"), workspace():
                while state.step < plan.steps:
                    begun = time.perf_counter()
                    batch = task.next_batch(state.step)
                    state.data_seconds += time.perf_counter() - begun

                    sums, interrupted = self._compute(batch, interrupts)
                    recent.append((sums, batch))
                    scores = task.scores(recent[-1:])
                    last = state.step + 1 == plan.steps
                    evaluates = last or (state.step + 1) % every.evaluate == 0
                    saves = last or interrupted or (state.step + 1) % every.save == 0
                    writes = evaluates or saves or state.step == 0 or (state.step + 1) % STEPS_IN_A_LINE == 0
                    values = self._update(scores["loss"], with_norms=writes)
                    if evaluates or saves:
                        self._refuse_spoiled_weights()

                    size = task.size(batch)
                    state.tokens += size
                    state.seconds += time.perf_counter() - begun
                    self.show.step(scores, size)
                    if writes and metrics is not None:
                        metrics.write(step=state.step, **task.scores(recent), **values, **state.totals())
                    if writes:
                        recent = []
                    best = evaluates and metrics is not None and self._evaluate_for(metrics)
                    if saves or evaluates:
                        # Every process has a part in it; which step is the best, only the first one knows.
                        state.generators = self.processes.gather(task.rng.bit_generator.state)
                        if metrics is not None and (saves or best):
                            self._save()
                    if interrupted and not last:
                        self._save_model()
                        self.show.say(
                            f"Interrupted after {state.step:,} steps; the model so far is in {self.run.folder}, "
                            "and --resume goes on"
                        )
                        raise KeyboardInterrupt
            self._save_model()
        finally:
            self.show.stop()

    def _compute(self, batch: Any, interrupts: list[int]) -> tuple[Array, bool]:
        """The scores and the gradient of a batch, shared by the processes and computed in parts.

        Returns:
            the batch's scores, and whether any process was interrupted.
        """
        task, parts = self.task, self.plan.accumulate
        share = task.part(batch, self.processes.rank, self.processes.size)
        task.model.zero_grad()
        sums = sum(task.loss_and_backward(task.part(share, index, parts), batch) for index in range(parts))
        if without := without_gradient(task.model):
            raise InputError(
                f"step {self.state.step + 1}: no gradient reached {', '.join(without)}; "
                "a backward on the way does not add to it"
            )
        numbers = np.append(sums, float(bool(interrupts)))  # one message to all processes for both
        gradients = [parameter.grad for parameter in task.model.parameters() if parameter.grad is not None]
        self.processes.add_up([numbers, *gradients])
        return numbers[:-1], bool(numbers[-1])

    def _update(self, loss: float, with_norms: bool) -> dict[str, Any]:
        """Moves the weights by the clipped gradients -> learning rate and norms, for the metrics."""
        task, step = self.task, self.state.step
        values: dict[str, Any] = {}
        if with_norms:
            values["gradient_norms"] = gradient_norms(task.model, task.section)
        norm = grad_norm(task.model.parameters())
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise self._spoiled(f"step {step + 1}: the loss is {loss} and the gradient's norm {norm}")
        rate = self.plan.rate(step)
        for group in self.optimizer.groups:
            group["lr"] = rate
        self.optimizer.step(clip_factor(norm, self.plan.max_grad_norm))
        if step == 0:
            self.show.say(task.first_loss(loss))
        self.state.step += 1
        return {"learning_rate": rate, "gradient_norm": norm} | values

    # --- what is looked at and written now and then --------------------------------------------------------

    def _evaluate_for(self, metrics: Metrics) -> bool:
        """Evaluates the model -> whether it is better than at every evaluation before."""
        state, evaluation = self.state, self.task.evaluate()
        if evaluation is None:
            return False
        metrics.write(step=state.step, **evaluation.metrics)
        self.show.say(f"step {state.step:,}, {evaluation.message}")
        value, best = evaluation.value, state.best_value
        if best is not None and (value >= best if self.task.lower_is_better else value <= best):
            return False
        state.best_step, state.best_value = state.step, value
        return True

    def _save(self) -> None:
        state = self.state
        state.position = self.task.position()
        to_disk(self.run.metrics)  # what a checkpoint will not measure again
        self.run.save(state.step, lambda folder: write_checkpoint(folder, self.task, self.optimizer, state))
        self.run.keep(self.intervals.keep, state.best_step)

    def _save_model(self) -> None:
        """The model as it is now, in the run's folder; no process goes on before it is there."""
        if self.processes.first:
            self.task.save(self.run.folder)
        self.processes.wait_for_first()

    def _refuse_spoiled_weights(self) -> None:
        """An update can be too much for float32 although its gradient was not: this is not to be saved."""
        if not is_finite(self.task.model):
            raise self._spoiled(f"after step {self.state.step} the weights are not finite")

    def _spoiled(self, what: str) -> InputError:
        """Names what was the first to be infinite or not a number."""
        saved = self.run.steps()
        kept = f"the last good state is {self.run.checkpoint(saved[-1])}" if saved else "no checkpoint was due yet"
        return InputError(
            f"{what}; first to go was {first_not_finite(self.task.model)}; "
            f"a learning rate below {self.plan.learning_rate} may help; {kept}"
        )
