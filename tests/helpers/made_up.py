"""Made-up text and token ids that the tests of pretraining's data share."""

import numpy as np
from hypothesis import strategies as st
from scipy.special import bdtr, bdtrc

from numbert.text.corpus import END_OF_DOCUMENT, find_corpus
from numbert.text.documents import Documents
from numbert.text.vocabulary import FIRST_PIECE

seeds = st.integers(0, 2**32 - 1)


def sentences(words, sentence_length=10):
    """Sentences of this many made-up words, all different."""
    rng = np.random.default_rng(words)
    made = rng.choice(list("abcdefghij"), (words, 5)).view("U5").ravel().tolist()
    runs = [made[i : i + sentence_length] for i in range(0, words, sentence_length)]
    return [" ".join(run).capitalize() + "." for run in runs]


def documents_of(stream):
    """What a stream of sentences holds, as lists."""
    documents, document = [], []
    for sentence in stream:
        if sentence == END_OF_DOCUMENT:
            documents.append(document)
            document = []
        else:
            document.append(sentence)
    assert not document, "the stream ends within a document"
    return documents


def read(*paths):
    """The documents in files."""
    return documents_of(find_corpus(paths).sentences())


def made_up(lengths):
    """Documents with sentences of these lengths; every id is new, so that each token tells where it is from."""
    every = [length for document in lengths for length in document]
    starts = np.concatenate([[0], np.cumsum(every)])
    return Documents(
        ids=np.arange(FIRST_PIECE, FIRST_PIECE + starts[-1], dtype=np.int32),
        sentences=starts,
        documents=np.concatenate([[0], np.cumsum([len(document) for document in lengths])]),
    )


def document_of(documents, place):
    """The number of the document that a place in `ids` belongs to."""
    return int(np.searchsorted(documents.starts(), place, side="right") - 1)


any_documents = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=2, max_size=8).map(
    made_up
)


def assert_frequency(count, trials, probability):
    """The count is one that a fair coin of this probability gives all but once in 10^9 times."""
    as_few, as_many = bdtr(count, trials, probability), bdtrc(count - 1, trials, probability)
    assert min(as_few, as_many) > 5e-10, (count, trials)
