"""The commands that use a model, such as fill-mask and generate; and download and convert, which get one."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from numbert.cli.command import Commands, gives_json, model_folder, new_file, takes_model
from numbert.cli.streams import argument, lines_of_stdin
from numbert.errors import InputError
from numbert.progress import say, to_terminal


def add_to(commands: Commands) -> None:
    """Adds the commands of this file."""
    p = commands.add("fill-mask", _fill_mask, "the most probable pieces for each [MASK]")
    p.add_argument("text", nargs="+", metavar="TEXT", help="a text with [MASK] in it; - reads lines from stdin")
    p.add_argument("--top-k", type=int, default=5, metavar="K", help="how many pieces (5)")
    takes_model(p)
    gives_json(p)

    p = commands.add("next-sentence", _next_sentence, "how probably a text follows another")
    p.add_argument("first", metavar="FIRST")
    p.add_argument("second", metavar="SECOND")
    takes_model(p)
    gives_json(p)

    p = commands.add("embed", _embed, "a vector for each text, the mean of its tokens' last hidden states")
    p.add_argument("text", nargs="+", metavar="TEXT", help="a text; - reads lines from stdin")
    p.add_argument("--output", type=Path, metavar="X.npy", help="write a new .npy file and print no numbers")
    p.add_argument("--batch-size", type=int, default=64, metavar="B", help="texts at a time (64)")
    takes_model(p)
    gives_json(p)

    p = commands.add("generate", _generate, "write on after each text, with a decoder")
    p.add_argument("text", nargs="+", metavar="TEXT", help="what to go on from; - reads lines from stdin")
    p.add_argument("--model", metavar="DIR", help="the folder of a decoder; it must be named")
    p.add_argument("--max-new-tokens", type=int, default=20, metavar="N", help="how many, at most (20)")
    p.add_argument("--do-sample", action="store_true", help="draw each token (the most probable one is taken)")
    p.add_argument(
        "--temperature", type=float, default=1.0, metavar="R", help="of sampling; below 1 more cautious (1)"
    )
    p.add_argument("--top-k", type=int, metavar="K", help="sample from the K most probable pieces (all)")
    p.add_argument("--top-p", type=float, metavar="P", help="sample from the pieces that together reach P (all)")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="of sampling (0)")
    p.add_argument("--num-beams", type=int, default=1, metavar="B", help="beams of a beam search (1, no search)")
    p.add_argument("--length-penalty", type=float, default=1.0, metavar="R", help="of beam search (1)")
    p.add_argument("--eos-token-id", type=int, metavar="ID", help="what ends a text (config.json's, or [SEP])")
    p.add_argument("--no-cache", action="store_true", help="compute all anew for each token: the same, slower")
    gives_json(p)

    p = commands.add("download", _download, "fetch a published BERT from a Hugging Face hub")
    p.add_argument("name", metavar="NAME", help="such as bert-base-cased")
    p.add_argument("--output", type=Path, metavar="DIR", help="a new folder (the last part of NAME)")
    p.add_argument("--revision", default="main", metavar="REV", help="branch, tag or commit (main)")

    p = commands.add("convert", _convert, "a TensorFlow checkpoint, or a pytorch_model.bin, as a model folder")
    p.add_argument("checkpoint", type=Path, metavar="CKPT", help="such as bert_model.ckpt, or the folder it is in")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder")


def _fill_mask(options: argparse.Namespace) -> int:
    from numbert.bert.tasks.pretraining import BertForMaskedLM
    from numbert.files.tokenizer import load_tokenizer
    from numbert.inference import fill_mask

    folder = model_folder(options.model)
    texts = _texts(options)
    tokenizer, model = load_tokenizer(folder), BertForMaskedLM.from_pretrained(folder)
    filled = fill_mask(model, tokenizer, texts, options.top_k, progress=_shows_progress(texts))
    if options.json:
        print(json.dumps([one.to_dict() for one in filled], indent=2))
        return 0
    for one in filled:
        print(one.text)
        for number, guesses in enumerate(one.masks, start=1):
            title = f"  mask {number}:" if len(one.masks) > 1 else "  "
            print(title + "  ".join(f"{guess.token} {guess.probability:.1%}" for guess in guesses))
    return 0


def _next_sentence(options: argparse.Namespace) -> int:
    from numbert.bert.tasks.pretraining import BertForNextSentencePrediction
    from numbert.files.tokenizer import load_tokenizer
    from numbert.inference import next_sentence

    folder = model_folder(options.model)
    first, second = argument(options.first, "FIRST"), argument(options.second, "SECOND")
    tokenizer = load_tokenizer(folder)
    model = BertForNextSentencePrediction.from_pretrained(folder)
    probability = next_sentence(model, tokenizer, first, second)
    if options.json:
        print(json.dumps({"first": first, "second": second, "is_next": probability}))
    else:
        print(f"{probability:.1%} that the second text follows the first")
    return 0


def _embed(options: argparse.Namespace) -> int:
    import numpy as np

    from numbert.bert.model import BertModel
    from numbert.files.tokenizer import load_tokenizer
    from numbert.inference import embed

    folder = model_folder(options.model)
    texts = _texts(options)
    out = contextlib.nullcontext() if options.output is None else new_file(options.output)
    with out as file:
        tokenizer, model = load_tokenizer(folder), BertModel.from_pretrained(folder, add_pooling_layer=False)

        def say_how_many(cut: list[int]) -> None:
            say(f"{len(cut)} of {len(texts)} texts cut to {model.config.max_position_embeddings} tokens")

        vectors = embed(
            model, tokenizer, texts, options.batch_size, progress=_shows_progress(texts), on_cut=say_how_many
        )
        if file is not None:
            np.save(file, vectors)
            say(f"{options.output}: {vectors.shape[0]} x {vectors.shape[1]}, {vectors.dtype}")
            return 0
    if options.json:
        print(json.dumps(vectors.tolist()))
    else:
        for vector in vectors:
            print(" ".join(f"{number:.6g}" for number in vector))
    return 0


def _generate(options: argparse.Namespace) -> int:
    from numbert.bert.tasks.causal import BertLMHeadModel
    from numbert.files.tokenizer import load_tokenizer
    from numbert.inference import generate_text

    if options.model is None:
        raise InputError("name a decoder with --model DIR; the models that come with numbert are none")
    folder = model_folder(options.model)
    texts = _texts(options)
    tokenizer, model = load_tokenizer(folder), BertLMHeadModel.from_pretrained(folder)

    def show(piece: str) -> None:
        print(piece, end="", flush=True)

    written = generate_text(
        model,
        tokenizer,
        texts,
        options.max_new_tokens,
        None if options.json else show,
        do_sample=options.do_sample,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
        num_beams=options.num_beams,
        length_penalty=options.length_penalty,
        eos_token_id=options.eos_token_id,
        use_cache=not options.no_cache,
    )
    if options.json:
        print(json.dumps([one.to_dict() for one in written], indent=2))
    return 0


def _download(options: argparse.Namespace) -> int:
    from numbert.files.hub import download

    print(download(options.name, options.output, options.revision, progress=to_terminal()))
    return 0


def _convert(options: argparse.Namespace) -> int:
    from numbert.bert.tasks.convert import convert

    conversion = convert(options.checkpoint, options.folder)
    for note in conversion.notes:
        say(note)
    print(f"{conversion.folder}: {conversion.model}")
    return 0


def _texts(options: argparse.Namespace) -> list[str]:
    """The texts of the command line; '-' is standard input, a text a line.

    Raises:
        InputError: one has no words, or is not UTF-8.
    """
    if options.text.count("-") > 1:
        raise InputError("- is given twice; standard input can be read once")
    texts: list[str] = []
    for number, text in enumerate(options.text, start=1):
        if not text.strip():
            raise InputError(f"text {number} is empty")
        texts += lines_of_stdin() if text == "-" else [argument(text, f"text {number}")]
    return texts


def _shows_progress(texts: Sequence[str]) -> bool:
    return len(texts) > 64 and to_terminal()
