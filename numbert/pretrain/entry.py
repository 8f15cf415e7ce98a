"""pretrain: from text to a folder with a model that has learned from it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.files.tokenizer import vocabulary_size
from numbert.nn.switches import uninitialized
from numbert.pretrain.baselines import Guess
from numbert.pretrain.beginning import Beginning
from numbert.pretrain.evaluation import Fill, Scores, fill_masks
from numbert.pretrain.runs import Run, locked, new_folder
from numbert.pretrain.settings import Settings
from numbert.pretrain.trainer import Intervals, Trainer, uniform_loss
from numbert.progress import Progress
from numbert.randomness import Purpose, generator
from numbert.text.corpus import Corpus, find_corpus
from numbert.text.prepare import Data, prepare
from numbert.train.metrics import read_metrics
from numbert.train.processes import Processes

_SENTENCES_TO_FILL = 10_000  # words to fill in are drawn from so many held-out sentences


@dataclass(frozen=True)
class PretrainResult:
    """What came of it. Losses are in nats: MLM + NSP.

    Attributes:
        folder: where the model and its tokenizer are.
        steps: how many there were.
        seconds: the time they took.
        tokens_per_second: trained on, without [PAD].
        data_share: of the time, what went into making batches.
        uniform_loss: ln v + ln 2, what guessing without any knowledge gives; `first_loss` should be near it.
        first_loss: of the first batch, before the first update.
        final_loss: the mean of the last 50 steps.
        held_out: the scores on documents that were not trained on.
        frequencies: what word frequencies alone give there.
        bigrams: what the word to the left alone gives there.
        fills: words filled in there.
    """

    folder: Path
    steps: int
    seconds: float
    tokens_per_second: float
    data_share: float
    uniform_loss: float
    first_loss: float
    final_loss: float
    held_out: Scores
    frequencies: Guess
    bigrams: Guess
    fills: list[Fill]

    @property
    def frequency_loss(self) -> float:
        """With ln 2 for NSP, which neither can guess; `held_out.loss` should be below it."""
        return self.frequencies.mlm_loss + math.log(2)

    @property
    def bigram_loss(self) -> float:
        return self.bigrams.mlm_loss + math.log(2)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"folder": str(self.folder)}

    def report(self) -> str:
        """For a reader: the losses and the fills."""
        scores = self.held_out
        lines = [
            f"first loss     {self.first_loss:8.4f}   (ln v + ln 2 = {self.uniform_loss:.4f})",
            f"final loss     {self.final_loss:8.4f}   on the text it learned from",
            f"held-out loss  {scores.loss:8.4f}   on documents it has not seen: MLM {scores.mlm_loss:.4f} "
            f"(perplexity {scores.perplexity:.1f}), NSP {scores.nsp_loss:.4f}",
            f"baseline       {self.frequency_loss:8.4f}   always guessing from word frequencies, same masks",
            f"baseline       {self.bigram_loss:8.4f}   guessing from the word to the left, same masks",
            f"held-out accuracy: MLM {scores.mlm_accuracy:.1%} (frequencies {self.frequencies.mlm_accuracy:.1%}, "
            f"word to the left {self.bigrams.mlm_accuracy:.1%}), among the first five "
            f"{scores.mlm_top5_accuracy:.1%}; NSP {scores.nsp_accuracy:.1%}",
        ]
        for fill in self.fills:
            guesses = ", ".join(f"{word} {probability:.0%}" for word, probability in fill.guesses)
            lines += ["", fill.text, f"  it was {fill.word!r}; guesses: {guesses}"]
        return "\n".join([*lines, "", f"saved in {self.folder}"])


def pretrain(
    texts: Sequence[str | Path] = (),
    output: str | Path = "numbert-model",
    steps: int | None = None,
    seed: int | None = None,
    *,
    resume: bool = False,
    init: str | Path | None = None,
    save_every: int | None = None,
    eval_every: int | None = None,
    keep: int = 2,
    gradient_checkpointing: bool = False,
    progress: bool = True,
    **settings: Any,
) -> PretrainResult:
    """Trains a BertForPreTraining on text and saves it with its tokenizer, for numbert and transformers alike.

    The same arguments give the same model, bit for bit, on the same machine; also when the machine went down on
    the way and the run was resumed. Under `mpirun -n N` the N processes share each batch.

    Args:
        texts: UTF-8 files, as `Corpus.sentences` reads them; without any, the documentation on this machine.
        output: a folder that is empty or not there yet; with resume, that of a run.
        steps, seed, settings: fields of `Settings`, which has the defaults.
        resume: go on with the run in `output` from its latest checkpoint, if there is one. What is not given is
            as it was in the run; what is given must be.
        init: a model's folder, to begin from its weights, vocabulary and sizes instead of new ones (see
            `Beginning.model`).
        save_every: steps between checkpoints; by default a tenth of all, at most 500.
        eval_every: steps between evaluations on held-out documents; by default as save_every.
        keep: how many of the latest checkpoints stay; the best one stays besides.
        gradient_checkpointing: less memory, more time, the same result bit for bit.
        progress: whether to say on stderr how it goes.

    Raises:
        InputError: an argument is outside its limits, a text cannot be used, the folder is not empty, not
            writable or of another run, or the loss is no longer finite.
        KeyboardInterrupt: Ctrl-C or SIGTERM; while it trains, after a checkpoint and the model have been saved.
        OSError: the disk is full, or another failure of the machine's; the checkpoints that were there stay.
    """
    given = {"steps": steps, "seed": seed} | settings
    given = {name: value for name, value in given.items() if value is not None}
    unknown = sorted(set(given) - {field.name for field in dataclasses.fields(Settings)})
    if unknown:
        raise TypeError(f"pretrain has no option {', '.join(unknown)}")
    for option, value in (("save_every", save_every), ("eval_every", eval_every), ("keep", keep)):
        if value is not None and value < 1:
            raise InputError(f"{option} is {value}; it must be at least 1")
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(Processes.found())
        show = Progress(progress and processes.first)
        if processes.first:
            beginning = None if init is None else Beginning.of(Path(init))
            opened = _opened(texts, Path(output), given, beginning, resume, processes.size, show)
            run = stack.enter_context(opened)
        processes.wait_for_first()
        if not processes.first:
            run = Run.read(Path(output))
        every = save_every or max(1, min(500, run.settings.steps // 10))
        intervals = Intervals(every, eval_every or every, keep)

        data = Data.open(run.data)
        saved = run.steps()
        model = _model(run, data, run.checkpoint(saved[-1]) if saved else None)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable()
        show.say("Counting words ...")
        trainer = Trainer(run, data, model, intervals, show, processes)
        if saved:
            trainer.resume(saved[-1])
            show.say(f"Going on after {saved[-1]:,} of {run.settings.steps:,} steps")
        config, plan = model.config, run.settings
        show.say(
            f"Model: {config.num_hidden_layers} layers, hidden size {config.hidden_size}, "
            f"{config.num_attention_heads} heads, {model.num_parameters():,} parameters; {plan.steps:,} steps "
            f"of {plan.batch_size} pairs of up to {plan.length} tokens"
        )
        trainer.train()
        return _result(trainer, run, data)


@contextlib.contextmanager
def _opened(
    texts: Sequence[str | Path],
    folder: Path,
    given: dict[str, Any],
    beginning: Beginning | None,
    resume: bool,
    processes: int,
    show: Progress,
) -> Iterator[Run]:
    """A run with its text prepared, begun or found, for this process alone."""
    if resume and (folder / "run.json").exists():
        with locked(folder):
            run = Run.read(folder)
            run.clean()
            corpus = find_corpus(texts) if texts else None
            run.refuse_difference(given, corpus, beginning)
            run.settings.check(processes)
            if not run.data.exists():
                corpus = corpus or find_corpus([file.path for file in run.files])
                run.refuse_difference({}, corpus, None)
                _prepare(run, corpus, show)
            yield run
        return
    settings = Settings(**(given if beginning is None else beginning.settings(given)))
    settings.check(processes)
    settings.config(settings.vocab_size)  # refuses sizes that do not go together
    with new_folder(folder):
        show.say("Reading ...")
        corpus = find_corpus(texts)
        run = Run.begin(folder, settings, corpus.files, beginning)
        _prepare(run, corpus, show)
        yield run


def _prepare(run: Run, corpus: Corpus, show: Progress) -> None:
    tokenizer = None if run.init is None else run.init.tokenizer()
    prepare(corpus, run.data, run.settings.vocab_size, run.settings.seed, show, tokenizer)


def _model(run: Run, data: Data, checkpoint: Path | None) -> BertForPreTraining:
    """With new weights, with those that the run begins from, or to be filled from a checkpoint."""
    settings = run.settings
    if checkpoint is not None:
        with uninitialized():
            return BertForPreTraining(BertConfig.from_file(checkpoint / "config.json"), seed=settings.seed)
    if run.init is None:
        return BertForPreTraining(settings.config(vocabulary_size(data.tokenizer)), seed=settings.seed)
    if Beginning.of(run.init.folder).sha256 != run.init.sha256:
        raise InputError(f"the model in {run.init.path} has changed since the run of {run.folder} began from it")
    return run.init.model(settings)


def _result(trainer: Trainer, run: Run, data: Data) -> PretrainResult:
    if not run.metrics.exists():
        raise InputError(f"{run.metrics} is gone; the model is in {run.folder}, but what was measured is lost")
    lines = [line for line in read_metrics(run.metrics) if "loss" in line]
    state = trainer.state
    rng = generator(run.settings.seed, Purpose.FILLS)
    return PretrainResult(
        folder=run.folder,
        steps=state.step,
        seconds=state.seconds,
        tokens_per_second=state.tokens / state.seconds,
        data_share=state.data_seconds / state.seconds,
        uniform_loss=uniform_loss(trainer.model),
        first_loss=lines[0]["loss"],
        final_loss=_mean_of_latest(lines, 50),
        held_out=trainer.held_out.scores(trainer.model),
        frequencies=trainer.held_out.frequencies,
        bigrams=trainer.held_out.bigrams,
        fills=fill_masks(
            trainer.model, data.tokenizer, list(islice(data.held_out_sentences(), _SENTENCES_TO_FILL)), rng
        ),
    )


def _mean_of_latest(lines: Sequence[dict[str, Any]], steps: int) -> float:
    """The mean loss of so many steps; a line stands for the steps since the one before."""
    before = [0, *(line["step"] for line in lines[:-1])]
    spans = [
        (line["loss"], line["step"] - start)
        for line, start in zip(lines, before, strict=True)
        if line["step"] > lines[-1]["step"] - steps
    ]
    return sum(loss * span for loss, span in spans) / sum(span for _, span in spans)
