"""How docs/noise_findings.py measures where noise goes, and what its page says of the model `english`."""

import importlib.util
import re
import shutil
import sys

import numpy as np
import pytest
import tiny
from places import ROOT, SHARED

import numbert

spec = importlib.util.spec_from_file_location("noise_findings", ROOT / "docs" / "noise_findings.py")
noise_findings = importlib.util.module_from_spec(spec)
sys.modules["noise_findings"] = noise_findings  # where its dataclasses look for their module
spec.loader.exec_module(noise_findings)

PAGE = ROOT / "docs" / "noise-findings.md"
ENGLISH = ROOT / "weights" / "english"
BOOKS = SHARED / "data" / "english"
IDS = np.array([2, 5, 9, 4, 17, 3])


def model(dtype=np.float64):
    """A tiny one whose attention is not flat."""
    config = tiny.config(initializer_range=0.5)
    return numbert.BertModel(config, add_pooling_layer=False, seed=3, dtype=dtype).eval()


def jacobian(ids):
    """Of every hidden state by every embedding, by complex step: [n+1,l,l,e,e] (injected, observed; out, in)."""
    step, of_complex = 1e-30, model(np.complex128)
    e = of_complex.config.hidden_size
    blocks = []
    for injected in range(len(ids)):
        disturbed = np.zeros((e, len(ids), e), complex)
        disturbed[np.arange(e), injected, np.arange(e)] = 1j * step
        hook = of_complex.embeddings.register_forward_hook(lambda *call, added=disturbed: call[-1] + added)
        with hook, numbert.no_grad():
            states = noise_findings.states(of_complex, np.repeat(ids[None], e, axis=0))  # [n+1,e,l,e]
        blocks.append(states.imag.transpose(0, 2, 3, 1) / step)
    return np.stack(blocks, axis=1)


class TestNoiseResponse:
    def test_it_is_the_norm_of_the_jacobian_within_the_error_of_sampling(self):
        samples = 200
        exact = jacobian(IDS)
        response, _ = noise_findings.noise_response(model(), IDS, samples=samples)
        squared = np.square(exact).sum(axis=(3, 4))  # [n+1,l,l]
        assert response.shape == squared.shape == (3, 6, 6)
        # Of a Gaussian z, |J z|^2 has the mean |J|^2 and the variance 2 |J J^T|^2.
        sd = np.sqrt(2 * np.square(exact @ exact.swapaxes(3, 4)).sum(axis=(3, 4)) / samples)
        there = squared > 0
        assert there[1:].all()
        assert (there[0] == np.eye(6)).all()
        assert (response[0][~there[0]] == 0).all()
        errors = ((response**2 - squared)[there]) / sd[there]
        assert np.abs(errors).max() < 4.5
        assert 0.7 < np.sqrt(np.mean(errors**2)) < 1.3

    def test_the_embeddings_own_response_is_the_root_of_their_size_and_their_lengths_are_returned(self):
        response, lengths = noise_findings.noise_response(model(), IDS, samples=100)
        assert np.allclose(noise_findings.own(response[:1]), np.sqrt(12), rtol=0.1)
        assert np.allclose(lengths, np.linalg.norm(model().embeddings(IDS[None])[0], axis=-1))

    def test_without_values_nothing_but_the_injected_position_responds(self):
        deaf = model()
        for layer in deaf.encoder.layer:
            layer.attention.self.value.weight.data[...] = 0
        response, _ = noise_findings.noise_response(deaf, IDS)
        assert (noise_findings.own(response) > 0.1).all()
        assert noise_findings.elsewhere(response).max() < 1e-8

    def test_the_noise_is_small_enough_for_a_linear_response(self):
        sentence = noise_findings.Sentence(IDS, (), *np.zeros((4, 6), bool), np.full(6, -1))
        assert 0 < noise_findings.change_by_halving(model(), [sentence]) < 0.01

    def test_the_hook_is_taken_away(self):
        used = model()
        noise_findings.noise_response(used, IDS)
        assert used.embeddings.hooks is None


def response_of(rows):
    """One layer [1,l,l]."""
    return np.array([rows], float)


class TestMeasures:
    def test_elsewhere_is_the_root_of_the_sum_of_squares_of_the_others(self):
        response = response_of([[9, 3, 4], [6, 9, 8], [0, 0, 9]])
        assert noise_findings.elsewhere(response).tolist() == [[5, 10, 0]]
        assert noise_findings.own(response).tolist() == [[9, 9, 9]]

    def test_the_ratio_is_of_means_within_the_sentence(self):
        values = np.array([[1.0, 2.0, 6.0, 4.0], [3.0, 3.0, 3.0, 6.0]])
        marks, words = np.array([1, 0, 0, 1], bool), np.array([0, 1, 1, 0], bool)
        assert noise_findings.paired_ratio(values, marks, words).tolist() == [2.5 / 4, 4.5 / 3]
        assert np.isnan(noise_findings.paired_ratio(values, np.zeros(4, bool), words)).all()

    def test_the_share_by_distance_is_of_squares_and_every_position_counts_the_same(self):
        # The first hands 1/5 to its neighbour, 4/5 on; the second a half to each; the third all to its neighbour.
        response = response_of([[7, 1, 2], [30, 7, 30], [0, 5, 7]])
        assert np.allclose(noise_findings.share_by_distance(response), [[(0.2 + 1 + 1) / 3, 0.8 / 3, 0, 0]])
        assert np.allclose(noise_findings.mean_distance(response), (0.2 + 1.6 + 1 + 1) / 3)

    def test_every_distance_has_its_share(self):
        response = np.zeros((1, 9, 9))
        apart = noise_findings.distances(9)
        response[0] = np.sqrt(np.select([apart == 1, apart == 2, apart == 4, apart == 7], [1, 1, 1, 1], 0.0))
        shares = noise_findings.share_by_distance(response)
        by_hand = np.zeros(4)
        for row in apart:
            counts = np.array([(row == distance).sum() for distance in (1, 2, 4, 7)])
            by_hand += counts / counts.sum() / 9
        assert np.allclose(shares, by_hand)

    def test_a_uniform_spread_is_the_baseline(self):
        sentence = noise_findings.Sentence(
            ids=np.arange(6),
            pieces=("[CLS]", "the", "cat", "sat", ".", "[SEP]"),
            special=np.array([1, 0, 0, 0, 0, 1], bool),
            marks=np.array([0, 0, 0, 0, 1, 0], bool),
            words=np.array([0, 1, 1, 1, 0, 0], bool),
            frequent=np.array([0, 1, 0, 0, 0, 0], bool),
            units=np.array([-1, -1, 5, 5, -1, -1]),
        )
        found = noise_findings.measure(sentence, np.ones((3, 6, 6)), np.ones(6))
        assert np.allclose(found["shares"], found["uniform"])
        assert np.allclose(found["distance"], found["uniform distance"])
        for name in ("near", "ratio", "ratio in proportion", "own ratio", "frequent", "units", "lengths"):
            assert np.allclose(found[name], 1), name
        assert np.allclose(found["to special"], 2 / 5)  # [CLS] and [SEP], of the five others
        assert np.allclose(found["stays marks"], 1 / 6)

    def test_neighbours_in_one_unit_are_compared_with_other_neighbours_that_are_no_marks(self):
        response = np.ones((1, 5, 5))
        response[0, 1, 2] = response[0, 2, 1] = 2  # shares 4/7 between 1 and 2, in place of 1/4
        units, plain = np.array([-1, 8, 8, -1, -1]), np.array([1, 1, 1, 1, 0], bool)
        others = np.mean([(1 / 4 + 1 / 7) / 2, (1 / 7 + 1 / 4) / 2])  # 0 and 1, 2 and 3; not 3 and 4
        assert np.allclose(noise_findings.within_units(response, units, plain), (4 / 7) / others)

    def test_the_interval_of_a_mean_is_that_of_theory_and_leaves_out_what_a_sentence_has_not(self):
        values = np.random.default_rng(5).normal(3, 2, 200)
        one = noise_findings.estimate(np.append(values, np.nan))
        assert one.count == 200
        assert one.mean == pytest.approx(values.mean())
        assert one.sd == pytest.approx(values.std(ddof=1))
        half = 1.96 * one.sd / np.sqrt(200)
        assert (one.low, one.high) == pytest.approx((one.mean - half, one.mean + half), abs=0.2 * half)


def estimate(mean, low, high, count=200):
    return noise_findings.Estimate(mean, 0.1, low, high, count)


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (estimate(0.05, 0.03, 0.08), "Yes."),
        (estimate(0.09, 0.07, 0.11), "No. It does spread, though less than noise on words."),
        (estimate(1.00, 0.97, 1.03), "No. It spreads, and no difference from noise on words is seen."),
        (estimate(1.20, 1.10, 1.30), "No. It spreads even more than noise on words."),
        (estimate(0.05, 0.03, 0.08, count=3), "It cannot be told: only 3 sentences have both."),
    ],
)
def test_whether_noise_on_punctuation_spreads_is_told_by_the_whole_interval(ratio, said):
    assert noise_findings.spreads(ratio) == said


@pytest.mark.parametrize(
    ("lows", "fall", "said"),
    [
        ((4, 3, 2.5, 1.5), 0.1, "Yes. The last layer is less local than the first."),
        (
            (4, 3, 2.5, 2.1),
            0.1,
            "Yes, but not of these layers alone: it holds for every layer. The last layer is less local than the "
            "first.",
        ),
        ((4, 3, 1.5, 1.1), -0.1, "In part: strongly local at layers 1 and 2. The last layer is no less local"),
        (
            (1.5, 1.2, 0.9, 3),
            0.1,
            "Not as claimed: local at layers 1, 2 and 4, but strongly at none of the first.",
        ),
        ((0.9, 0.9, 0.9, 0.9), 0.1, "No."),
    ],
)
def test_whether_the_first_layers_are_local_is_told_by_the_whole_intervals(lows, fall, said):
    near = [estimate(low + 0.1, low, low + 0.2) for low in lows]
    assert noise_findings.is_local(near, 3, estimate(fall, fall - 0.01, fall + 0.01)).startswith(said)


@pytest.mark.parametrize(
    ("middle", "apart", "said"),
    [
        (estimate(1.3, 1.2, 1.4), (0.1, 0.2), "Yes, by this reading."),
        (
            estimate(1.3, 1.2, 1.4),
            (0.1, -0.2),
            "No. The pieces of a unit are tied more than others, but",
        ),
        (estimate(1.0, 0.9, 1.1), (0.1, 0.2), "No. At the middle layers the pieces of a unit are not"),
        (estimate(1.3, 1.2, 1.4, count=4), (0.1, 0.2), "It cannot be told: only 4 sentences have such a unit."),
    ],
)
def test_whether_there_are_entities_is_told_by_the_middle_against_the_ends(middle, apart, said):
    differences = [estimate(low + 0.1, low, low + 0.2) for low in apart]
    assert noise_findings.are_entities([middle], differences).startswith(said)


@pytest.mark.parametrize(
    ("frequent", "marks", "said"),
    [
        (
            estimate(0.9, 0.8, 0.95),
            estimate(0.7, 0.6, 0.8),
            "They spread less noise than the others, as marks do.",
        ),
        (estimate(0.9, 0.8, 0.95), estimate(1.0, 0.9, 1.1), "They spread less noise than the others."),
        (estimate(1.2, 1.1, 1.3), estimate(1.2, 1.1, 1.3), "They spread more noise than the others, as marks do."),
        (estimate(1.0, 0.9, 1.1), estimate(1.2, 1.1, 1.3), "They spread as much noise as the others."),
        (estimate(1.2, 1.1, 1.3, count=2), estimate(1.2, 1.1, 1.3), "only 2 sentences have both."),
    ],
)
def test_whether_frequent_words_do_what_marks_do_is_told_by_the_whole_intervals(frequent, marks, said):
    assert noise_findings.frequent_too(frequent, marks).endswith(said)


@pytest.mark.parametrize(("layers", "middle"), [(1, [0]), (4, [1]), (6, [2, 3]), (12, [5, 6])])
def test_the_middle_layers_are_those_that_are_as_deep_as_6_and_7_of_12(layers, middle):
    assert noise_findings.middle_layers(layers) == middle


@pytest.fixture(scope="module")
def tokenizer():
    return numbert.load_tokenizer(numbert.shipped_model("python"))


def test_what_the_tokens_of_a_sentence_are(tokenizer):
    text = '"I don\'t know old Tom Sawyer," said the well-bred boy.'
    encoding = tokenizer.encode(text)
    sentence = noise_findings.described(text, encoding, {"the", '"'})

    def those(which):
        return [piece for piece, is_one in zip(sentence.pieces, which, strict=True) if is_one]

    assert those(sentence.special) == ["[CLS]", "[SEP]"]
    assert those(sentence.marks) == ['"', ",", '"', "."]
    # One piece for each word, its first: none for what stands behind the marks in don't and well-bred.
    words = ["I", "don", "know", "old", "Tom", "Sawyer", "said", "the", "well", "boy"]
    for piece, word in zip(those(sentence.words), words, strict=True):
        assert word.lower().startswith(piece.lower())
    assert those(sentence.frequent) == ["the"]
    groups = noise_findings.groups(sentence)
    assert those(groups["marks with a word behind them"]) == ['"', ",", '"']
    assert those(groups["marks at the end"]) == ["."]
    assert those(groups["the last word"]) == those(sentence.words)[-1:]
    assert groups['`"`'].sum() == 2
    assert groups["`[CLS]`"].tolist() == [True] + [False] * (len(sentence.ids) - 1)
    spans = {
        text[min(a for a, _ in of) : max(b for _, b in of)]
        for unit in set(sentence.units.tolist()) - {-1}
        if (of := [encoding.offsets[i] for i in np.flatnonzero(sentence.units == unit)])
    }
    assert "Tom Sawyer" in spans
    assert all(" " not in span or span == "Tom Sawyer" for span in spans)


@pytest.fixture
def book(tmp_path):
    """A file of 60 short sentences in paragraphs, and two that are too short or too long."""
    places = ("house", "garden", "river", "road", "mill", "church")
    sentences = [
        f'When Mary Tilford came to the {place}, number {n}, she said "no" to extraordinary old Tom Sawyer.'
        for place in places
        for n in range(10)
    ]
    sentences += ["No.", "And " * 60 + "so on."]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(" ".join(sentences[i : i + 2]) for i in range(0, len(sentences), 2)))
    return path


class TestDrawing:
    def test_one_seed_draws_one_set_of_sentences_and_another_another(self, tokenizer, book):
        first, again, other = (
            noise_findings.draw_sentences([book], tokenizer, 20, seed=seed) for seed in (1, 1, 2)
        )
        assert [s.ids.tolist() for s in first] == [s.ids.tolist() for s in again]
        assert [s.ids.tolist() for s in first] != [s.ids.tolist() for s in other]

    def test_fewer_are_the_first_of_more_none_is_twice_and_all_have_the_length(self, tokenizer, book):
        all_of_them = noise_findings.draw_sentences([book], tokenizer, 60)
        some = noise_findings.draw_sentences([book], tokenizer, 7)
        assert [s.ids.tolist() for s in some] == [s.ids.tolist() for s in all_of_them[:7]]
        assert len({tuple(s.ids) for s in all_of_them}) == 60
        assert all(8 <= len(s.ids) <= 40 for s in all_of_them)

    def test_too_few_are_refused(self, tokenizer, book):
        with pytest.raises(numbert.InputError, match=r"60 of 62 sentences have 8 to 40 tokens; 61 are needed"):
            noise_findings.draw_sentences([book], tokenizer, 61)


class TestThePage:
    @pytest.fixture
    def folder(self, tmp_path):
        """A tiny model with the tokenizer of `python`."""
        python, folder = numbert.shipped_model("python"), tmp_path / "small"
        size = numbert.BertConfig.from_file(python / "config.json").vocab_size
        config = tiny.config(vocab_size=size, max_position_embeddings=64, initializer_range=0.5)
        numbert.BertForPreTraining(config, seed=1).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            shutil.copy(python / name, folder)
        return folder

    def run(self, monkeypatch, *given):
        monkeypatch.setattr(sys, "argv", ["noise_findings.py", *map(str, given)])
        noise_findings.main()

    def test_one_command_writes_it_whole_with_its_picture(self, folder, book, monkeypatch):
        output = folder.parent
        self.run(monkeypatch, "--model", folder, "--output", output, "--sentences", 20, book)
        page = (output / "noise-findings.md").read_text(encoding="utf-8")
        assert "nan" not in page
        assert "at the last layer: only 0 sentences have both" in " ".join(page.split())  # no word is rare
        assert "`small` (2 layers, 12 numbers for a token), with 20 sentences" in page
        assert "- book.txt\n" in page
        ratios = rows(page, "Punctuation against words")
        assert list(ratios) == ["1", "2"]
        mean, interval = ratios["2"][2].split()[0], ratios["2"][3]
        assert f"respond {mean} ({interval}) times as much to noise in a punctuation mark" in page
        assert list(rows(page, "Local structure by layer")) == ["uniform", "1", "2"]
        assert (output / "noise-findings.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")

    def test_what_is_wrong_is_one_line_and_nothing_is_written(self, folder, book, monkeypatch, capsys):
        with pytest.raises(SystemExit) as error:
            self.run(monkeypatch, "--model", folder, "--output", folder, "--sentences", 100, book)
        assert error.value.code == 2
        assert capsys.readouterr().err.endswith("60 of 62 sentences have 8 to 40 tokens; 100 are needed\n")
        assert not (folder / "noise-findings.md").exists()


def rows(page, heading):
    """The first table under a heading, row by row: the cells behind the first, by the first."""
    part = page.partition(f"\n## {heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", part, re.MULTILINE)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {first: others for first, *others in cells[2:]}


@pytest.mark.skipif(
    not (PAGE.exists() and ENGLISH.exists() and BOOKS.exists()),
    reason="needs docs/noise-findings.md of weights/english, and the books in ../shared/data/english",
)
def test_the_page_says_what_the_first_of_its_sentences_give_again():
    page, count = PAGE.read_text(encoding="utf-8"), 8
    english = numbert.BertModel.from_pretrained(ENGLISH, np.float64, add_pooling_layer=False)
    n = english.config.num_hidden_layers
    files = [BOOKS / name for name in re.findall(r"^- (\S+\.txt)$", page, re.MULTILINE)]
    assert f"`english` ({n} layers" in " ".join(page.split())
    longest = min(noise_findings.LONGEST, english.config.max_position_embeddings)
    found = []
    for sentence in noise_findings.draw_sentences(files, numbert.load_tokenizer(ENGLISH), count, longest):
        found.append(
            noise_findings.measure(sentence, *noise_findings.noise_response(english, sentence.ids, samples=1))
        )

    def agrees(values, cell):
        """The mean is the page's, within four standard errors that the page's own spread gives."""
        mean, sd = map(float, cell.split(" ± "))
        assert abs(np.nanmean(values) - mean) < 4 * sd / np.sqrt((~np.isnan(values)).sum()) + 0.005

    ratios, shares = rows(page, "Punctuation against words"), rows(page, "Local structure by layer")
    units = rows(page, "Something like entities")
    for layer in range(n):
        agrees(np.array([one["marks"][layer] for one in found]), ratios[str(layer + 1)][0])
        agrees(np.array([one["ratio"][layer] for one in found]), ratios[str(layer + 1)][2])
        for distance in range(4):
            agrees(np.array([one["shares"][layer, distance] for one in found]), shares[str(layer + 1)][distance])
        agrees(np.array([one["units"][layer] for one in found]), units[str(layer + 1)][1])
