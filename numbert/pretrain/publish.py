"""publish: a run's model at half precision with a model card, to give to others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.errors import InputError
from numbert.files.atomic import replacing
from numbert.files.tokenizer import save_tokenizer
from numbert.pretrain.evaluation import Scores
from numbert.pretrain.held_out import HeldOut
from numbert.pretrain.run import PretrainRun
from numbert.pretrain.settings import Settings
from numbert.text.corpus import Corpus, TextFile
from numbert.text.prepare import Data
from numbert.train.snapshot import STATE
from numbert.train.state import State
from numbert.views.curves import plot_run

CARD, TEXTS = "MODEL_CARD.md", "texts.txt"
# More texts than this are listed in a file beside the card.
TEXTS_AT_MOST = 5
# For the card, all held-out pairs up to this many.
PAIRS_AT_MOST = 50_000
# Half precision is kept where it costs no more than this of the held-out loss, in nats.
COST_AT_MOST = 1e-3


def publish(folder: str | Path, output: str | Path) -> Path:
    """Writes the model of a finished run at half precision, its tokenizer, its curves and a model card.

    Where half precision costs more than a thousandth of a nat on the held-out documents, float32 is kept. If there
    are more than five texts, a file texts.txt lists them.

    Args:
        folder: the run's folder.
        output: the folder to write into; files of the same names in it are replaced, others stay.

    Returns:
        the output folder.

    Raises:
        InputError: there is no run, it is not finished, or the output is the run's own folder.
    """
    run, output = PretrainRun.read(Path(folder)), Path(output)
    if run.steps()[-1:] != [run.settings.steps] or not (run.folder / "model.safetensors").is_file():
        raise InputError(f"{folder} is not finished: it has no checkpoint of step {run.settings.steps}")
    if output.absolute() == run.folder.absolute():
        raise InputError(f"{output} is the run's own folder; give another one")
    data = Data.open(run.data)
    held_out = HeldOut(data, run.settings, PAIRS_AT_MOST)
    model = BertForPreTraining.from_pretrained(run.folder)
    full = held_out.scores(model)

    with replacing(output) as new:
        model.save_pretrained(new, dtype="float16")
        half = held_out.scores(BertForPreTraining.from_pretrained(new))
        halved = half.loss - full.loss <= COST_AT_MOST
        if not halved:
            model.save_pretrained(new)
        save_tokenizer(data.tokenizer, new, max_length=model.config.max_position_embeddings)
        for number, one in enumerate(run.with_beginnings(), start=1):
            plot_run(one.folder, new / f"curves-{number}.png")
        size = (new / "model.safetensors").stat().st_size
        card = _card(run, data, model, held_out, full, half, halved, size)
        listed = {CARD: card} | ({TEXTS: _list(run.corpus)} if _has_many(run.corpus) else {})
        for name, content in listed.items():
            # A text's name may be bytes that are no UTF-8: then they are shown as "\udce9".
            (new / name).write_text(content, encoding="utf-8", errors="backslashreplace")
    return output


def _card(
    run: PretrainRun,
    data: Data,
    model: BertForPreTraining,
    held_out: HeldOut,
    full: Scores,
    half: Scores,
    halved: bool,
    size: int,
) -> str:
    runs = run.with_beginnings()
    config = model.config
    saved = half if halved else full
    states = [State.read(one.checkpoint(one.steps()[-1]) / STATE) for one in runs]
    rows = "\n".join(
        f"| {_steps(state.step, one.settings.steps)} | {one.settings.batch_size} x {one.settings.length} | "
        f"{one.settings.learning_rate:g} | {state.tokens:,} | {timedelta(seconds=round(state.seconds))} |"
        for one, state in zip(runs, states, strict=True)
    )
    commands = "\n".join(_command(one, number, run.corpus) for number, one in enumerate(runs, start=1))
    if _has_many(run.corpus):
        sides = [("learned", run.corpus.files), ("held_out", run.corpus.held_out)]
        finding = [f"{side}=$(awk '$1 == \"{side}\" {{print $3}}' {TEXTS})" for side, files in sides if files]
        commands = "\n".join([*finding, commands])
    pictures = "\n\n".join(f"![curves of run-{number}](curves-{number}.png)" for number in range(1, len(runs) + 1))
    beginning = "from nothing" if runs[0].init is None else f"from {runs[0].init.folder.name}"
    many = _has_many(run.corpus)
    source = _names(run.corpus.files, many) or "the documentation on the machine"
    if run.corpus.held_out:
        source += f"; held out: {_names(run.corpus.held_out, many)}"
    if many:
        source += f" ([{TEXTS}]({TEXTS}) lists them with their SHA-256)"
    return f"""# Model card

A BERT: {config.num_hidden_layers} layers, {config.hidden_size} wide, {config.num_attention_heads} heads, \
{config.vocab_size:,} pieces of vocabulary, {config.max_position_embeddings} positions: \
{model.num_parameters():,} parameters, {size / 1e6:.1f} MB. Cased. Trained {beginning} by `numbert pretrain` on a CPU.

## What it can do

On {len(data.held_out):,} documents that were held out whole, {held_out.masked:,} masked tokens in {held_out.pairs:,} pairs of up to \
{run.settings.length} tokens:

| | MLM top-1 | MLM top-5 | MLM nats | perplexity | NSP |
|---|---|---|---|---|---|
| this model | {saved.mlm_accuracy:.1%} | {saved.mlm_top5_accuracy:.1%} | {saved.mlm_loss:.3f} | \
{saved.perplexity:.1f} | {saved.nsp_accuracy:.1%} |
| guessing from the token to the left | {held_out.bigrams.mlm_accuracy:.1%} | | {held_out.bigrams.mlm_loss:.3f} | \
{held_out.bigrams.perplexity:.1f} | 50% |
| guessing from piece frequencies | {held_out.frequencies.mlm_accuracy:.1%} | | {held_out.frequencies.mlm_loss:.3f} | \
{held_out.frequencies.perplexity:.1f} | 50% |

Half precision: loss {half.loss:.5f} (MLM {half.mlm_accuracy:.3%}, NSP {half.nsp_accuracy:.3%}), single precision \
{full.loss:.5f} (MLM {full.mlm_accuracy:.3%}, NSP {full.nsp_accuracy:.3%}). Saved as \
{"half" if halved else "single"} precision.

## The text

{source}: {data.counts.megabytes:.2f} MB, {data.counts.documents:,} documents, {data.counts.sentences:,} sentences, \
of which {data.counts.repeated_sentences:,} are the same as one before ({data.counts.repeated_documents:,} documents). \
{len(data.train.ids):,} tokens to learn from, {len(data.held_out.ids):,} held out. Of the held-out sentences \
{data.held_out_also_learned():.1%} stand word for word in other documents, too.

## The training

| steps | batch | learning rate | tokens | time |
|---|---|---|---|---|
{rows}

```sh
{commands}
```

{pictures}
"""  # noqa: E501


def _steps(done: int, planned: int) -> str:
    """How many updates a run made. One that another began from may have been stopped."""
    return f"{done:,}" if done == planned else f"{done:,} of {planned:,}"


def _has_many(corpus: Corpus) -> bool:
    """Whether to list the texts in a file. No shell can tell names with white space in it apart."""
    files = (*corpus.files, *corpus.held_out)
    return len(files) > TEXTS_AT_MOST and not any(re.search(r"\s", Path(file.path).name) for file in files)


def _list(corpus: Corpus) -> str:
    """What texts.txt holds: a line for each text, with its side, its SHA-256 and its name."""
    return "".join(
        f"{side}\t{file.sha256}\t{Path(file.path).name}\n"
        for side, files in (("learned", corpus.files), ("held_out", corpus.held_out))
        for file in files
    )


def _names(files: Sequence[TextFile], many: bool) -> str:
    if many:
        return f"{len(files)} texts"
    return ", ".join(f"{Path(file.path).name} (SHA-256 {file.sha256[:16]}...)" for file in files)


def _command(run: PretrainRun, number: int, listed: Corpus) -> str:
    """What to type for such a run: every setting that is not the default. A list has the names of many texts."""
    learned, held_out = (
        shlex.join(Path(file.path).name for file in files) for files in (run.corpus.files, run.corpus.held_out)
    )
    if run.corpus == listed and _has_many(listed):
        learned, held_out = "$learned", "$held_out" if held_out else ""
    texts = [text for text in (learned, f"--held-out {held_out}" if held_out else "") if text]
    words = ["--output", f"run-{number}"]
    sizes = ("vocab_size", "hidden_size", "layers", "heads") if run.init else ()
    if run.init:
        words += ["--init", f"run-{number - 1}" if number > 1 else run.init.folder.name]
    for name, value in run.settings.to_dict().items():
        if value == getattr(Settings(), name) or name in sizes:
            continue
        if name == "bias_correction":
            words.append("--no-bias-correction")
        elif name == "whole_words":
            words.append("--whole-words")
        else:
            words += [f"--{name.replace('_', '-')}", repr(value)]
    return " ".join(["numbert pretrain", *texts, shlex.join(words)])
