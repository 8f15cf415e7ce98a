"""pretrain: from text to a folder with a model that has learned from it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from numbert.bert.pretraining import BertForPreTraining
from numbert.checkpoint.tokenizer import save_tokenizer
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.pretrain.batches import MASKED, Batch, one_pass
from numbert.pretrain.corpus import read_corpus
from numbert.pretrain.evaluation import Fill, Scores, evaluate, fill_masks, frequency_loss, latest_scores
from numbert.pretrain.optimizer import AdamW, clip_grad_norm, decay_groups, warmup_then_linear_decay
from numbert.pretrain.pairs import Documents, tokenize
from numbert.pretrain.progress import Progress
from numbert.pretrain.vocabulary import train_tokenizer

HELD_OUT = 0.05  # of the documents
WARMUP = 0.1  # of the steps
STEPS = 1_700  # about two minutes on two cores


@dataclass(frozen=True)
class PretrainResult:
    """What came of it. Losses are in nats: MLM + NSP.

    Attributes:
        folder: where the model and its tokenizer are.
        steps: how many there were.
        seconds: the time they took.
        tokens_per_second: trained on, without [PAD].
        uniform_loss: ln v + ln 2, what guessing without any knowledge gives; `first_loss` should be near it.
        first_loss: of the first batch, before the first update.
        final_loss: the mean of the last 50 steps.
        held_out: the scores on documents that were not trained on.
        frequency_loss: what word frequencies alone give there; `held_out.loss` should be below it.
        fills: words filled in there.
    """

    folder: Path
    steps: int
    seconds: float
    tokens_per_second: float
    uniform_loss: float
    first_loss: float
    final_loss: float
    held_out: Scores
    frequency_loss: float
    fills: list[Fill]

    def report(self) -> str:
        """For a reader: the losses and the fills."""
        lines = [
            f"first loss     {self.first_loss:8.4f}   (ln v + ln 2 = {self.uniform_loss:.4f})",
            f"final loss     {self.final_loss:8.4f}   on the text it learned from",
            f"held-out loss  {self.held_out.loss:8.4f}   on documents it has not seen: MLM "
            f"{self.held_out.mlm_loss:.4f}, NSP {self.held_out.nsp_loss:.4f}",
            f"baseline       {self.frequency_loss:8.4f}   always guessing from word frequencies, same masks",
            f"held-out accuracy: MLM {self.held_out.mlm_accuracy:.1%}, NSP {self.held_out.nsp_accuracy:.1%}",
        ]
        for fill in self.fills:
            guesses = ", ".join(f"{word} {probability:.0%}" for word, probability in fill.guesses)
            lines += ["", fill.text, f"  it was {fill.word!r}; guesses: {guesses}"]
        return "\n".join([*lines, "", f"saved in {self.folder}"])


def pretrain(
    texts: Sequence[str | Path] = (),
    output: str | Path = "numbert-model",
    steps: int | None = None,
    seed: int = 0,
    *,
    vocab_size: int = 4_000,
    hidden_size: int = 128,
    layers: int = 1,
    heads: int = 2,
    length: int = 32,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    dropout: float = 0.0,
    progress: bool = True,
) -> PretrainResult:
    """Trains a BertForPreTraining on text and saves it with its tokenizer, for numbert and transformers alike.

    The same arguments give the same model, bit for bit, on the same machine.

    Args:
        texts: UTF-8 files, as `cut_into_documents` reads them; without any, the documentation on this machine.
        output: a folder that is empty or not there yet.
        steps: updates, by default 1,700. The learning rate rises over the first tenth of them and then falls to 0.
        seed: of the weights, the pairs, the masks, dropout and what is held out.
        vocab_size: at most; the text may have fewer pieces.
        length: tokens in a pair of segments, with [CLS] and [SEP], at most.
        batch_size: pairs in a step.
        dropout: of hidden states and attention.
        progress: whether to say on stderr how it goes.

    Raises:
        InputError: an argument is outside its limits, a text cannot be used, the folder is not empty or not
            writable, or the loss is no longer finite.
        KeyboardInterrupt: after the model as it is then has been saved.
    """
    steps = STEPS if steps is None else steps
    for name, value, least, or_more in (
        ("steps", steps, 1, True),
        ("seed", seed, 0, True),
        ("length", length, 8, True),
        ("batch_size", batch_size, 1, True),
        ("learning_rate", learning_rate, 0, False),
        ("max_grad_norm", max_grad_norm, 0, False),
        ("weight_decay", weight_decay, 0, True),
    ):
        if not (value >= least if or_more else value > least):
            limit = f"at least {least}" if or_more else f"above {least}"
            raise InputError(f"{name} is {value}; it must be {limit}")
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=length,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        # bert-base's 0.02 at the width of 768. With as little in a narrow model all scores start near 0, all
        # attention alike, and for thousands of steps the model learns nothing but word frequencies.
        initializer_range=0.02 * math.sqrt(768 / hidden_size),
    )
    show = Progress(progress)
    with _new_folder(output) as folder:
        data = _prepare(texts, vocab_size, seed, show)
        config = dataclasses.replace(config, vocab_size=data.tokenizer.get_vocab_size())
        model = BertForPreTraining(config, seed=seed)
        show.say(
            f"Model: {layers} layers, hidden size {hidden_size}, {heads} heads, {model.num_parameters():,} "
            f"parameters; {steps:,} steps of {batch_size} pairs of up to {length} tokens"
        )
        passes = partial(
            one_pass,
            vocab_size=config.vocab_size,
            max_length=length,
            batch_size=batch_size,
            max_predictions=math.ceil(MASKED * length),
        )
        rng = np.random.default_rng([seed, 1])
        batches = chain.from_iterable(passes(data.train, rng=rng) for _ in repeat(None))
        try:
            train(model, batches, steps, show, learning_rate, weight_decay, max_grad_norm)
        except KeyboardInterrupt:
            _save(model, data.tokenizer, folder)
            show.say(f"Interrupted after {show.done:,} steps; the model so far is in {folder}")
            raise
        _save(model, data.tokenizer, folder)

        held_out = list(passes(data.held_out, rng=np.random.default_rng([seed, 2])))
        return PretrainResult(
            folder=folder,
            steps=steps,
            seconds=show.seconds,
            tokens_per_second=show.tokens / show.seconds,
            uniform_loss=uniform_loss(model),
            first_loss=show.first_loss,
            final_loss=show.loss,
            held_out=evaluate(model, held_out),
            frequency_loss=frequency_loss(data.train.ids, config.vocab_size, held_out),
            fills=fill_masks(model, data.tokenizer, data.held_out_sentences, np.random.default_rng([seed, 3])),
        )


def train(
    model: BertForPreTraining,
    batches: Iterator[Batch],
    steps: int,
    show: Progress,
    learning_rate: float,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
) -> None:
    """The training loop: forward, backward, clip, step.

    Raises:
        InputError: the loss or the gradient is infinite or not a number; the message names the step.
    """
    optimizer = AdamW(decay_groups(model, weight_decay), lr=learning_rate, betas=(0.9, 0.98))
    model.train()
    show.start(steps)
    try:
        for step, batch in zip(range(steps), batches, strict=False):
            model.zero_grad()
            loss = float(model(**vars(batch), return_logits=False).loss)
            scores = latest_scores(model, loss)
            model.backward()
            norm = clip_grad_norm(model.parameters(), max_grad_norm)
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise InputError(
                    f"step {step + 1}: the loss is {loss} and the gradient's norm {norm}; "
                    f"a learning rate below {learning_rate} may help"
                )
            for group in optimizer.groups:
                group["lr"] = learning_rate * warmup_then_linear_decay(step, steps, math.ceil(WARMUP * steps))
            optimizer.step()
            if step == 0:
                show.say(f"First loss: {loss:.4f}; expected is about ln v + ln 2 = {uniform_loss(model):.4f}")
            show.step(scores, int(batch.attention_mask.sum()))
    finally:
        show.stop()


def uniform_loss(model: BertForPreTraining) -> float:
    """ln v + ln 2: the loss of holding every word, and both answers about the pair, equally likely."""
    return math.log(model.config.vocab_size) + math.log(2)


# --- before and after --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Data:
    tokenizer: Tokenizer
    train: Documents
    held_out: Documents
    held_out_sentences: list[str]


def _prepare(texts: Sequence[str | Path], vocab_size: int, seed: int, show: Progress) -> _Data:
    """Reads the text, holds some of it out, and learns the vocabulary from the rest."""
    show.say("Reading ...")
    corpus = read_corpus(texts)
    show.say(
        f"Text: {corpus.megabytes:.2f} MB from {corpus.source}: {len(corpus.documents):,} documents, "
        f"{len(corpus.sentences):,} sentences"
    )
    train_documents, held_out_documents = corpus.split(HELD_OUT, np.random.default_rng([seed, 0]))
    tokenizer = train_tokenizer(list(chain.from_iterable(train_documents)), vocab_size)
    data = _Data(
        tokenizer,
        tokenize(tokenizer, train_documents),
        tokenize(tokenizer, held_out_documents),
        list(chain.from_iterable(held_out_documents)),
    )
    show.say(
        f"Vocabulary: {tokenizer.get_vocab_size():,} pieces; {len(data.train.ids):,} tokens to learn from, "
        f"{len(data.held_out.ids):,} held out, in {len(data.held_out):,} whole documents"
    )
    return data


@contextlib.contextmanager
def _new_folder(path: str | Path) -> Iterator[Path]:
    """A folder that is empty and can be written; one made here goes again where nothing is saved in it."""
    folder = Path(path)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; give another folder as output")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        yield folder
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _save(model: BertForPreTraining, tokenizer: Tokenizer, folder: Path) -> None:
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, max_length=model.config.max_position_embeddings)
