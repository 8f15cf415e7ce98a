"""The training loop: batches in, updated weights out; checkpoints, metrics and evaluation on the way."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.errors import InputError
from numbert.files.atomic import to_disk
from numbert.pretrain.batches import Batch
from numbert.pretrain.evaluation import Scores, latest_scores, mean_scores
from numbert.pretrain.held_out import BatchMaker, HeldOut
from numbert.pretrain.pairs import PairStream
from numbert.pretrain.runs import Run, State
from numbert.pretrain.snapshot import read_checkpoint, save_model_folder, write_checkpoint
from numbert.progress import Progress
from numbert.randomness import Purpose, generator
from numbert.text.prepare import Data
from numbert.train.metrics import Metrics
from numbert.train.optimizer import AdamW, clip_grad_norm, decay_groups, warmup_then_linear_decay
from numbert.train.processes import Processes

BETAS = (0.9, 0.98)
STEPS_IN_A_LINE = 10  # of the metrics


@dataclass(frozen=True)
class Intervals:
    """How often, in steps; without effect on what is computed.

    Attributes:
        save: a checkpoint is written.
        evaluate: the held-out documents are looked at, and the best model so far is kept.
        keep: of the latest checkpoints so many stay, besides the best.
    """

    save: int
    evaluate: int
    keep: int


class Trainer:
    """A run in memory: the model, the optimizer, the state, and where batches come from.

    Args:
        run: its folder, in which only the first of several processes writes.
        data: the prepared text.
        model: as it is before the first step.

    Attributes:
        held_out: the documents to evaluate it on.
    """

    def __init__(
        self,
        run: Run,
        data: Data,
        model: BertForPreTraining,
        intervals: Intervals,
        show: Progress,
        processes: Processes,
    ) -> None:
        self.run, self.data, self.model, self.intervals = run, data, model, intervals
        self.show, self.processes = show, processes
        self.settings = settings = run.settings
        self.optimizer = AdamW(
            decay_groups(model, settings.weight_decay), betas=BETAS, bias_correction=settings.bias_correction
        )
        if processes.rank:  # dropout is not to be the same in all processes
            model.rng.bit_generator.state = generator(
                settings.seed, Purpose.DROPOUT, processes.rank, 0
            ).bit_generator.state
        self.state = State()
        self.batches = BatchMaker(data, settings)
        self.held_out = HeldOut(data, settings)

    def resume(self, step: int) -> None:
        """Goes back to where a checkpoint was written."""
        self.state = read_checkpoint(self.run.checkpoint(step), self.model, self.optimizer)
        rank = self.processes.rank
        if rank < len(self.state.generators):
            self.model.rng.bit_generator.state = self.state.generators[rank]
        else:  # there were fewer processes
            self.model.rng.bit_generator.state = generator(
                self.settings.seed, Purpose.DROPOUT, rank, step
            ).bit_generator.state

    # --- the loop ---------------------------------------------------------------------------------------------

    def train(self) -> None:
        """From where the state is to the last step.

        Raises:
            InputError: the loss or the gradient is infinite or not a number, or a parameter got no gradient.
            KeyboardInterrupt: after SIGINT or SIGTERM, when the step is done and a checkpoint is written.
        """
        state, settings, every = self.state, self.settings, self.intervals
        metrics = Metrics(self.run.metrics, state.step) if self.processes.first else None
        pairs = PairStream(self.data.train, settings.length, (settings.seed, Purpose.PAIRS), state.position)
        recent: list[tuple[Scores, Batch]] = []  # since the last line of metrics
        self.model.train()
        self.show.start(settings.steps, state.step)
        try:
            with (
                _interrupts() as interrupts,
                np.errstate(over="ignore", invalid="ignore"),
            ):  # what goes wrong is told
                while state.step < settings.steps:
                    begun = time.perf_counter()
                    chosen = pairs.take(settings.batch_size)
                    batch = self.batches.make(self.data.train, chosen, Purpose.MASKS, state.step)
                    state.data_seconds += time.perf_counter() - begun

                    scores, interrupted = self._compute(batch, interrupts)
                    recent.append((scores, batch))
                    last = state.step + 1 == settings.steps
                    evaluates = last or (state.step + 1) % every.evaluate == 0
                    saves = last or interrupted or (state.step + 1) % every.save == 0
                    writes = evaluates or saves or state.step == 0 or (state.step + 1) % STEPS_IN_A_LINE == 0
                    values = self._update(scores, with_norms=writes)
                    if evaluates or saves:
                        self._refuse_spoiled_weights()

                    state.tokens += batch.tokens
                    state.seconds += time.perf_counter() - begun
                    self.show.step(scores, batch.tokens)
                    if writes and metrics is not None:
                        metrics.write(step=state.step, **mean_scores(recent).to_dict(), **values, **state.totals())
                        recent = []
                    best = evaluates and metrics is not None and self._evaluate_for(metrics)
                    if saves or evaluates:
                        # Every process has a part in it; which step is the best, only the first one knows.
                        state.generators = self.processes.gather(self.model.rng.bit_generator.state)
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

    def _compute(self, batch: Batch, interrupts: list[int]) -> tuple[Scores, bool]:
        """Losses and gradients of a batch, shared by the processes and computed in parts.

        The gradient is that of the whole batch, however it is shared: each part counts as much as it has of the
        batch's words and pairs.

        Returns:
            the batch's scores, and whether any process was interrupted.
        """
        share = batch.part(self.processes.rank, self.processes.size)
        sums = np.zeros(5)
        self.model.zero_grad()
        for index in range(self.settings.accumulate):
            part = share.part(index, self.settings.accumulate)
            loss = float(self.model(**vars(part), return_logits=False, return_dict=True).loss)
            scores = latest_scores(self.model, loss)
            words, pairs = part.words / max(1, batch.words), part.pairs / batch.pairs
            sums[:2] += words * scores.mlm_loss, pairs * scores.nsp_loss
            sums[2:4] += words * scores.mlm_accuracy, pairs * scores.nsp_accuracy
            self.model.backward((words, pairs))
        sums[4] = bool(interrupts)
        if without := [name for name, parameter in self.model.named_parameters() if parameter.grad is None]:
            raise InputError(
                f"step {self.state.step + 1}: no gradient reached {', '.join(without)}; "
                "a backward on the way does not add to it"
            )
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        self.processes.add_up([sums, *gradients])
        return Scores(*sums[:4].tolist()), bool(sums[4])

    def _update(self, scores: Scores, with_norms: bool) -> dict[str, Any]:
        """Clips the gradients and moves the weights -> learning rate and norms, for the metrics."""
        settings, step = self.settings, self.state.step
        values: dict[str, Any] = {}
        if with_norms:
            values["gradient_norms"] = gradient_norms(self.model)
        norm = clip_grad_norm(self.model.parameters(), settings.max_grad_norm)
        if not math.isfinite(scores.loss) or not math.isfinite(norm):
            raise self._spoiled(f"step {step + 1}: the loss is {scores.loss} and the gradient's norm {norm}")
        rate = settings.learning_rate * warmup_then_linear_decay(step, settings.steps, settings.warmup_steps)
        for group in self.optimizer.groups:
            group["lr"] = rate
        self.optimizer.step()
        if step == 0:
            self.show.say(
                f"First loss: {scores.loss:.4f}; expected is about ln v + ln 2 = {uniform_loss(self.model):.4f}"
            )
        self.state.step += 1
        return {"learning_rate": rate, "gradient_norm": norm} | values

    # --- what is looked at and written now and then --------------------------------------------------------

    def _evaluate_for(self, metrics: Metrics) -> bool:
        """Looks at the held-out documents -> whether they are better known than ever before."""
        state, scores, held_out = self.state, self.held_out.scores(self.model), self.held_out
        metrics.write(
            step=state.step,
            held_out=scores.to_dict() | {"perplexity": scores.perplexity},
            frequencies=vars(held_out.frequencies),
            bigrams=vars(held_out.bigrams),
        )
        self.show.say(
            f"step {state.step:,}, held out: loss {scores.loss:.3f}, MLM {scores.mlm_accuracy:.1%} "
            f"(by frequencies {held_out.frequencies.mlm_accuracy:.1%}, by the word to the left "
            f"{held_out.bigrams.mlm_accuracy:.1%}), NSP {scores.nsp_accuracy:.1%}"
        )
        if state.best_loss is not None and scores.loss >= state.best_loss:
            return False
        state.best_step, state.best_loss = state.step, scores.loss
        return True

    def _save(self) -> None:
        state = self.state
        to_disk(self.run.metrics)  # what a checkpoint will not measure again
        self.run.save(
            state.step,
            lambda folder: write_checkpoint(folder, self.model, self.data.tokenizer, self.optimizer, state),
        )
        self.run.keep(self.intervals.keep, state.best_step)

    def _save_model(self) -> None:
        """The model as it is now, in the run's folder; no process goes on before it is there."""
        if self.processes.first:
            save_model_folder(self.model, self.data.tokenizer, self.run.folder)
        self.processes.wait_for_first()

    def _refuse_spoiled_weights(self) -> None:
        """An update can be too much for float32 although its gradient was not: this is not to be saved."""
        if not all(np.isfinite(parameter.data).all() for parameter in self.model.parameters()):
            raise self._spoiled(f"after step {self.state.step} the weights are not finite")

    def _spoiled(self, what: str) -> InputError:
        """Names what was the first to be infinite or not a number."""
        saved = self.run.steps()
        kept = f"the last good state is {self.run.checkpoint(saved[-1])}" if saved else "no checkpoint was due yet"
        return InputError(
            f"{what}; first to go was {first_not_finite(self.model)}; "
            f"a learning rate below {self.settings.learning_rate} may help; {kept}"
        )


def uniform_loss(model: BertForPreTraining) -> float:
    """ln v + ln 2: the loss of holding every word, and both answers about the pair, equally likely."""
    return math.log(model.config.vocab_size) + math.log(2)


def gradient_norms(model: BertForPreTraining) -> dict[str, float]:
    """Of the embeddings, each layer, the pooler and the heads, as they follow each other."""
    squares: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        path = name.removeprefix("bert.").removeprefix("encoder.").split(".")
        part = ".".join(path[:2]) if path[0] == "layer" else path[0]
        gradient = np.asarray(parameter.grad, np.float64).reshape(-1)  # the square can be beyond float32
        squares[part] = squares.get(part, 0.0) + float(gradient @ gradient)
    return {part: math.sqrt(square) for part, square in squares.items()}


def first_not_finite(model: BertForPreTraining) -> str:
    """Names a parameter in words: the first, as data flows, whose values are infinite or not a number; or else the
    first that backward came to whose gradient is; or else the one with the largest value."""
    parameters = list(model.named_parameters())
    for name, parameter in parameters:
        if not np.isfinite(parameter.data).all():
            return name
    for name, parameter in reversed(parameters):
        if parameter.grad is not None and not np.isfinite(parameter.grad).all():
            return f"the gradient of {name}"
    largest, name = max((float(np.abs(parameter.data).max()), name) for name, parameter in parameters)
    return f"no parameter (the largest value, {largest:.3g}, is in {name})"


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Within it, SIGINT and SIGTERM are put into a list, so that a step is finished first; a second one is not
    waited with. Only the main thread hears of them."""
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived
        return

    def note(number: int, frame: FrameType | None) -> None:
        if arrived:
            raise KeyboardInterrupt
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
