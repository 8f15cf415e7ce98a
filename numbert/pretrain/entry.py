"""pretrain: from text to a model folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError, as_bool, as_integer, at_least
from numbert.files.tokenizer import vocabulary_size
from numbert.nn.switches import uninitialized
from numbert.pretrain.beginning import Beginning
from numbert.pretrain.evaluation import fill_masks
from numbert.pretrain.objective import PretrainingTask, uniform_loss
from numbert.pretrain.result import Best, PretrainResult
from numbert.pretrain.run import PretrainRun
from numbert.pretrain.settings import Settings
from numbert.progress import Progress
from numbert.randomness import Purpose, generator
from numbert.text.corpus import Corpus, find_corpus
from numbert.text.prepare import Data, prepare
from numbert.train.metrics import read_metrics
from numbert.train.processes import Processes
from numbert.train.run import locked, new_folder
from numbert.train.state import State
from numbert.train.trainer import Intervals, Trainer

_SENTENCES_TO_FILL = 10_000  # the words to fill in are drawn from this many held-out sentences


def pretrain(
    texts: str | Path | Iterable[str | Path] = (),
    output: str | Path = "numbert-model",
    steps: int | None = None,
    seed: int | None = None,
    *,
    resume: bool = False,
    init: str | Path | None = None,
    held_out: str | Path | Iterable[str | Path] = (),
    save_every: int | None = None,
    eval_every: int | None = None,
    keep: int = 2,
    gradient_checkpointing: bool = False,
    progress: bool = True,
    **settings: Any,
) -> PretrainResult:
    """Trains a BertForPreTraining on text and saves it with its tokenizer, for numbert and transformers alike.

    The same arguments give the same model, bit for bit, on the same machine, even if the machine went down on the
    way and the run was resumed. Under `mpirun -n N` the N processes share each batch.

    Args:
        texts: one or more UTF-8 files, as `Corpus.sentences` reads them; without any, the documentation on this
            machine.
        output: the run's folder, empty or not there yet; with resume, one that holds a run.
        steps, seed, settings: fields of `Settings`, which has the defaults.
        resume: whether to go on with the run in `output` from its latest checkpoint, if there is one. Settings
            that are not given are the run's; those that are given must be the same as the run's.
        init: a model folder, to begin from its weights, vocabulary and sizes instead of new ones (see
            `Beginning.model`).
        held_out: files to hold out whole, such as the books of some authors; by default a twentieth of the
            documents of all texts is held out, drawn at random.
        save_every: steps between checkpoints; by default a tenth of the steps, at most 500.
        eval_every: steps between evaluations on held-out documents; by default save_every.
        keep: how many of the latest checkpoints stay. The best one stays too.
        gradient_checkpointing: whether to run each layer again in backward: less memory, more time, the same
            result bit for bit.
        progress: whether to report on stderr.

    Raises:
        InputError: an argument is outside its limits, a text cannot be used, the folder is not empty, cannot be
            written or holds another run, or the loss is no longer finite.
        TypeError: a setting has no field in `Settings`.
        KeyboardInterrupt: Ctrl-C or SIGTERM came. During training a checkpoint and the model are saved first.
        OSError: the disk is full, or the machine failed otherwise; the checkpoints that were there stay.
    """
    texts, held_out = ([x] if isinstance(x, str | Path) else list(x) for x in (texts, held_out))
    given = {"steps": steps, "seed": seed} | settings
    given = {name: value for name, value in given.items() if value is not None}
    unknown = sorted(set(given) - {field.name for field in dataclasses.fields(Settings)})
    if unknown:
        raise TypeError(f"pretrain has no option {', '.join(unknown)}")
    given = Settings.typed(given)
    options = {"resume": resume, "gradient_checkpointing": gradient_checkpointing, "progress": progress}
    for option, flag in options.items():
        as_bool(option, flag)
    for option, value in (("save_every", save_every), ("eval_every", eval_every), ("keep", keep)):
        if value is not None:
            at_least(option, as_integer(option, value), 1)
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(Processes.found())
        show = Progress(progress and processes.first)
        if processes.first:
            beginning = None if init is None else Beginning.of(Path(init))
            opened = _opened(texts, held_out, Path(output), given, beginning, resume, processes.size, show)
            run = stack.enter_context(opened)
        processes.wait_for_first()
        if not processes.first:
            run = PretrainRun.read(Path(output))
        every = save_every or max(1, min(500, run.settings.steps // 10))
        intervals = Intervals(int(every), int(eval_every or every), int(keep))

        data = Data.open(run.data)
        saved = run.steps()
        model = _model(run, data, run.checkpoint(saved[-1]) if saved else None)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable()
        show.say("Counting pieces ...")
        task = PretrainingTask(data, run.settings, model)
        trainer = Trainer(run, task, run.settings.plan(), intervals, show, processes)
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
        return _result(run, task, trainer.state)


@contextlib.contextmanager
def _opened(
    texts: Sequence[str | Path],
    held_out: Sequence[str | Path],
    folder: Path,
    given: dict[str, Any],
    beginning: Beginning | None,
    resume: bool,
    processes: int,
    show: Progress,
) -> Iterator[PretrainRun]:
    """A run with its text prepared, begun or found, for this process alone."""
    if resume and (folder / "run.json").exists():
        with locked(folder):
            run = PretrainRun.read(folder)
            run.clean()
            corpus = find_corpus(texts, held_out) if texts or held_out else None
            run.refuse_difference(given)
            if beginning is not None:
                run.refuse_other_beginning(beginning)
            if corpus is not None:
                run.refuse_other_text(corpus)
            run.settings.check(processes)
            if not run.data.exists():
                if corpus is None:
                    stored = run.corpus
                    corpus = find_corpus(
                        [file.path for file in stored.files], [file.path for file in stored.held_out]
                    )
                    run.refuse_other_text(corpus)
                _prepare(run, corpus, show)
            yield run
        return
    settings = Settings(**(given if beginning is None else beginning.settings(given)))
    settings.check(processes)
    _refuse_model(settings, beginning)
    with new_folder(folder):
        show.say("Reading ...")
        corpus = find_corpus(texts, held_out)
        run = PretrainRun.begin_with(folder, settings, corpus, beginning)
        run.refuse_known_text()
        _prepare(run, corpus, show)
        yield run


def _refuse_model(settings: Settings, beginning: Beginning | None) -> None:
    """Makes the model for a trial, so that an error in it is reported before anything is read or written."""
    if beginning is not None:
        beginning.model(settings)
    else:
        with uninitialized():  # takes no memory, as it is not written to
            BertForPreTraining(settings.config(settings.vocab_size))


def _prepare(run: PretrainRun, corpus: Corpus, show: Progress) -> None:
    tokenizer = None if run.init is None else run.init.tokenizer()
    prepare(corpus, run.data, run.settings.vocab_size, run.settings.seed, show, tokenizer)


def _model(run: PretrainRun, data: Data, checkpoint: Path | None) -> BertForPreTraining:
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


def _result(run: PretrainRun, task: PretrainingTask, state: State) -> PretrainResult:
    if not run.metrics.exists():
        raise InputError(f"{run.metrics} is gone; the model is in {run.folder}, but what was measured is lost")
    lines = [line for line in read_metrics(run.metrics) if "loss" in line]
    model, held_out = task.model, task.held_out
    scores, best = held_out.scores(model), None
    if state.best_step is not None and state.best_value is not None and state.best_value < scores.loss:
        best = Best(state.best_step, state.best_value, run.checkpoint(state.best_step))
    sentences = list(islice(task.data.held_out_sentences(), _SENTENCES_TO_FILL))
    rng = generator(run.settings.seed, Purpose.FILLS)
    return PretrainResult(
        folder=run.folder,
        steps=state.step,
        seconds=state.seconds,
        tokens_per_second=state.tokens / state.seconds,
        data_share=state.data_seconds / state.seconds,
        uniform_loss=uniform_loss(model),
        first_loss=lines[0]["loss"],
        final_loss=_mean_of_latest(lines, 50),
        held_out=scores,
        held_out_words=held_out.masked,
        held_out_pairs=held_out.pairs,
        best=best,
        frequencies=held_out.frequencies,
        bigrams=held_out.bigrams,
        fills=fill_masks(model, task.data.tokenizer, sentences, rng),
    )


def _mean_of_latest(lines: Sequence[dict[str, Any]], steps: int) -> float:
    """The mean loss of the last steps, as many as asked for; a line stands for the steps since the one before."""
    before = [0, *(line["step"] for line in lines[:-1])]
    spans = [
        (line["loss"], line["step"] - start)
        for line, start in zip(lines, before, strict=True)
        if line["step"] > lines[-1]["step"] - steps
    ]
    return sum(loss * span for loss, span in spans) / sum(span for _, span in spans)
