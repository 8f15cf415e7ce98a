"""Bugs planted in what a model is asked: texts, and the configuration that says what it is."""

from mutants.machinery import Mutant

INFERENCE = "inference/test_inference.py"
CONFIG = "test_config.py"
MODEL = "bert/test_model.py"

MUTANTS = [
    Mutant(
        "no-room-for-cls-and-sep",
        "inference/embed.py",
        "encoder.config.max_position_embeddings - special)",
        "encoder.config.max_position_embeddings)",
        "l tokens and [CLS] and [SEP] are two more than the model has positions",
        tests=(INFERENCE,),
    ),
    Mutant(
        "end-of-a-long-text-counts",
        "inference/embed.py",
        "encoding.truncate(length)",
        'encoding.truncate(length, direction="left")',
        "the beginning is what the field keeps; the vectors of long texts are others",
        tests=(f"{INFERENCE}::TestEmbed",),
    ),
    Mutant(
        "one-string-is-its-characters",
        "inference/texts.py",
        "if isinstance(texts, str):",
        "if isinstance(texts, bytes):",
        "a string is a sequence of strings: a vector for each character",
        tests=(f"{INFERENCE}::TestTexts",),
    ),
    Mutant(
        "padding-counts-as-text",
        "inference/texts.py",
        "if tokenizer.padding is None:",
        "if True:",
        "a tokenizer that pads gives [PAD] as tokens, and the mean is over them too",
        tests=(f"{INFERENCE}::TestEmbed",),
    ),
    Mutant(
        "nothing-left-has-an-answer",
        "inference/next_sentence.py",
        "if not len(encoding):",
        "if not text.strip():",
        "a zero-width space is no blank, and [CLS] [SEP] has an answer",
        tests=(f"{INFERENCE}::TestTexts",),
    ),
    Mutant(
        "tuples-where-config-json-says-so",
        "inference/fill_mask.py",
        "model.bert(**batch, return_dict=True, unpad=True)",
        "model.bert(**batch, unpad=True)",
        "return_dict: false is in published files, and a tuple has no last_hidden_state",
        tests=(f"{INFERENCE}::TestModelsAndTokenizers",),
    ),
    Mutant(
        "missing-switches-are-off",
        "config.py",
        "for name in set(SWITCHES) & set(fields):",
        "for name in SWITCHES:\n            fields.setdefault(name, None)",
        "a key that is not in config.json is its default, which for tying the decoder is true",
        tests=(CONFIG,),
    ),
    Mutant(
        "null-dropout-is-none-at-all",
        "config.py",
        "if converted is None or not valid(converted):",
        "if not converted or not valid(converted):",
        "0 layers and a dropout of 0 are values, not their absence",
        tests=(CONFIG,),
    ),
    Mutant(
        "layers-counted-once",
        "bert/pretrained.py",
        "config.num_hidden_layers * (attention",
        "(attention",
        "a model of ten thousand layers begins to be made, and takes the machine with it",
        tests=(f"{MODEL}::TestSizes::test_the_encoders_parameters_are_counted_before_they_are_made",),
    ),
]
