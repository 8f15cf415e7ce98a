"""Downloads from a hub: what is fetched, what is kept when they break off, and what is never taken for a model."""

import errno
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny
from hub import COMMIT, Hub, serving

import numbert
from numbert.errors import InputError
from numbert.files.tokenizer import bert_tokenizer, load_tokenizer, save_tokenizer

pytest.importorskip("huggingface_hub", reason="needs huggingface_hub, the extra `hub`")

import huggingface_hub

from numbert.files.hub import download

# Older versions give up at the first break, and some append a whole file to its part, which the checksum finds.
since_2 = pytest.mark.skipif(
    int(huggingface_hub.__version__.split(".")[0]) < 2, reason="needs huggingface_hub 2 or newer"
)

NAME = "someone/tiny-bert"
WEIGHTS = "model.safetensors"
KEPT = r"^http://127.0.0.1:\d+ failed: .+; what is there is kept, and the same command goes on$"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat"]
OTHER_FORMATS = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "README.md", "onnx/model.onnx")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The files of a published model, those of other formats among them."""
    folder = tmp_path_factory.mktemp("published")
    numbert.BertForPreTraining(tiny.config(vocab_size=len(WORDS)), seed=3).save_pretrained(folder)
    save_tokenizer(bert_tokenizer({word: i for i, word in enumerate(WORDS)}), folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | dict.fromkeys(OTHER_FORMATS, b"not for numbert")


@pytest.fixture
def hub(published, monkeypatch):
    """A hub with the model on it, at HF_ENDPOINT; nobody waits between two attempts."""
    with serving(Hub(models={NAME: dict(published)})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr("time.sleep", lambda _: None)
        # The package hands on what it has received in pieces of 10 MB, far more than this model is.
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000)
        yield hub


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tiny-bert"


def refused(match, name=NAME, folder=None, **options):
    """The one line with which a download is refused."""
    with pytest.raises(InputError, match=match) as caught:
        download(name, folder, progress=False, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sharded(published):
    """The same model in two files and an index."""
    from safetensors.numpy import load, save

    arrays = load(published[WEIGHTS])
    names = sorted(arrays)
    halves = {"model-1-of-2.safetensors": names[:9], "model-2-of-2.safetensors": names[9:]}
    files = {shard: save({name: arrays[name] for name in half}) for shard, half in halves.items()}
    index = {"weight_map": {name: shard for shard, half in halves.items() for name in half}}
    rest = {name: content for name, content in published.items() if name != WEIGHTS}
    return rest | files | {"model.safetensors.index.json": json.dumps(index).encode()}


def parameters(folder):
    model = numbert.BertForPreTraining.from_pretrained(folder)
    return {name: parameter.data for name, parameter in model.named_parameters()}


class TestADownload:
    def test_loads_as_the_model_that_was_published(self, hub, folder, published):
        assert download(NAME, folder) == folder
        for name, content in published.items():
            if name not in OTHER_FORMATS:
                assert (folder / name).read_bytes() == content
        original = numbert.BertForPreTraining(tiny.config(vocab_size=len(WORDS)), seed=3)
        for name, array in parameters(folder).items():
            np.testing.assert_array_equal(array, original.state_dict()[name])
        assert load_tokenizer(folder).encode("the cat").tokens == ["[CLS]", "the", "cat", "[SEP]"]

    def test_nothing_else_is_fetched_or_left(self, hub, folder, published):
        download(NAME, folder)
        assert {path.name for path in folder.iterdir()} == set(published) - set(OTHER_FORMATS)
        assert not [path for _, path, _ in hub.requests if path.endswith(OTHER_FORMATS)]

    def test_the_tokens_added_to_vocab_txt_come_with_it(self, hub, folder, published):
        files = {name: content for name, content in published.items() if name != "tokenizer.json"}
        added = {"added_tokens.json": b'{"covid": 8}', "special_tokens_map.json": b'{"sep_token": "[SEP]"}'}
        hub.models["someone/added"] = files | added
        download("someone/added", folder)
        assert load_tokenizer(folder).encode("the covid").ids == [2, 5, 8, 3]
        assert set(added) <= {path.name for path in folder.iterdir()}

    def test_every_file_is_of_one_commit(self, hub, folder):
        download(NAME, folder)
        first, *rest = [path for _, path, _ in hub.requests if NAME in path and "/cdn/" not in path]
        assert first == f"/api/models/{NAME}/revision/main"
        assert all(f"/resolve/{COMMIT}/" in path for path in rest)

    def test_shards_and_their_index(self, hub, folder, published):
        hub.models["someone/two-files"] = sharded(published)
        download("someone/two-files", folder)
        download(NAME, folder.parent / "whole")
        whole = parameters(folder.parent / "whole")
        for name, array in parameters(folder).items():
            np.testing.assert_array_equal(array, whole[name])
        assert not (folder / WEIGHTS).exists()

    def test_by_default_into_the_last_part_of_the_name(self, hub, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert str(download(NAME)) == "tiny-bert"
        assert (tmp_path / "tiny-bert" / WEIGHTS).exists()

    def test_into_an_empty_folder(self, hub, folder):
        folder.mkdir()
        download(NAME, str(folder))
        assert (folder / WEIGHTS).exists()

    def test_progress_bars_are_as_before(self, hub, folder):
        from huggingface_hub import utils

        before = utils.are_progress_bars_disabled()
        download(NAME, folder, progress=False)
        assert utils.are_progress_bars_disabled() == before

    def test_importing_numbert_imports_no_hub(self):
        code = "import sys, numbert, numbert.files.hub; assert 'huggingface_hub' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestAConnectionThatBreaksOff:
    def test_the_next_call_goes_on_where_it_stopped(self, hub, folder, published):
        hub.cut[WEIGHTS], hub.down_after_cut = [5_500], True
        refused(KEPT, folder=folder)
        hub.down.clear()
        hub.requests.clear()
        download(NAME, folder, progress=False)
        # 5,500 bytes were sent; the last 500 did not fill a piece of 1,000.
        assert hub.ranges(WEIGHTS) == ["bytes=5000-"]
        assert hub.sent[WEIGHTS] == 5_500 + len(published[WEIGHTS]) - 5_000
        assert (folder / WEIGHTS).read_bytes() == published[WEIGHTS]
        assert {path.name for path in folder.iterdir()} == set(published) - set(OTHER_FORMATS)

    def test_what_is_whole_is_not_fetched_again(self, hub, folder):
        hub.models[NAME]["vocab.txt"] += b"a word\n" * 1_000  # so that it is a large file
        hub.down.add(WEIGHTS)
        refused(KEPT, folder=folder)
        assert hub.ranges("vocab.txt") == [None]
        hub.down.clear()
        download(NAME, folder, progress=False)
        assert hub.ranges("vocab.txt") == [None]

    @since_2
    def test_short_breaks_are_bridged_within_one_call(self, hub, folder, published):
        hub.cut[WEIGHTS] = [3_500, 2_000]
        download(NAME, folder, progress=False)
        assert hub.ranges(WEIGHTS) == [None, "bytes=3000-", "bytes=5000-"]
        assert (folder / WEIGHTS).read_bytes() == published[WEIGHTS]

    @since_2
    def test_a_server_that_knows_no_ranges_sends_it_all_again(self, hub, folder, published):
        hub.cut[WEIGHTS], hub.down_after_cut, hub.ignores_ranges = [5_500], True, True
        refused(KEPT, folder=folder)
        hub.down.clear()
        download(NAME, folder, progress=False)
        assert hub.ranges(WEIGHTS)[-1] == "bytes=5000-"
        assert (folder / WEIGHTS).read_bytes() == published[WEIGHTS]

    def test_an_unfinished_download_is_not_taken_for_a_model(self, hub, folder):
        hub.down.add(WEIGHTS)
        refused(KEPT, folder=folder)
        assert [path.name for path in folder.iterdir()] == [".unfinished-someone--tiny-bert"]
        with pytest.raises(InputError, match=r"has neither model\.safetensors nor"):
            numbert.BertForPreTraining.from_pretrained(folder)

    def test_parts_of_another_version_are_not_used(self, hub, folder, published):
        hub.cut[WEIGHTS], hub.down_after_cut = [5_500], True
        refused(KEPT, folder=folder)
        hub.down.clear()
        newer = bytes(reversed(published[WEIGHTS]))
        hub.models[NAME][WEIGHTS] = newer
        hub.requests.clear()
        download(NAME, folder, progress=False)
        assert hub.ranges(WEIGHTS) == [None]
        assert (folder / WEIGHTS).read_bytes() == newer

    def test_an_unfinished_download_of_another_model_is_in_the_way(self, hub, folder):
        hub.down.add(WEIGHTS)
        refused(KEPT, folder=folder)
        hub.models["someone/else"] = hub.models[NAME]
        refused("tiny-bert is in the way: it holds other files", "someone/else", folder)


class TestChecksums:
    @pytest.mark.parametrize("filename", [WEIGHTS, "vocab.txt"], ids=["large: SHA-256", "small: git's SHA-1"])
    def test_one_wrong_bit_is_refused_and_not_kept(self, hub, folder, published, filename):
        hub.corrupt.add(filename)
        refused(
            f"^{filename} came with the checksum [0-9a-f]+, but the hub says [0-9a-f]+; it is rem", folder=folder
        )
        assert [path.name for path in folder.iterdir()] == [".unfinished-someone--tiny-bert"]
        assert not list(folder.glob(f"*/{filename}*"))
        hub.corrupt.clear()
        download(NAME, folder, progress=False)
        assert (folder / filename).read_bytes() == published[filename]

    def test_a_wrong_beginning_is_found_after_resuming(self, hub, folder, published):
        hub.cut[WEIGHTS], hub.down_after_cut = [5_500], True
        refused(KEPT, folder=folder)
        (part,) = folder.glob(f"*/{WEIGHTS}*")
        part.write_bytes(b"\0" * 5_000)
        hub.down.clear()
        refused(f"^{WEIGHTS} came with the checksum", folder=folder)
        assert not part.exists()

    def test_more_than_was_announced_is_refused(self, hub, folder, published):
        """As where another program has written to the part."""
        hub.cut[WEIGHTS], hub.down_after_cut = [5_500], True
        refused(KEPT, folder=folder)
        (part,) = folder.glob(f"*/{WEIGHTS}*")
        part.write_bytes(published[WEIGHTS] + b"more")
        refused(f"^{WEIGHTS} came with the checksum", folder=folder)


class TestWhatCannotBeFetched:
    def test_no_such_model(self, hub, folder):
        assert refused("no model someone/tiny-brat", "someone/tiny-brat", folder).startswith(hub.url)
        assert not folder.exists(), "nothing is left behind"

    def test_no_such_revision(self, hub, folder):
        refused("^someone/tiny-bert has no revision 'v2'$", folder=folder, revision="v2")

    @pytest.mark.parametrize("name", ["", "a/b/c", "https://huggingface.co/a/b", "a b", "../up"])
    def test_no_name(self, hub, folder, name):
        refused("is not a name on a hub, such as google-bert/bert-base-cased$", name, folder)
        assert not hub.requests

    def test_no_safetensors(self, hub, folder):
        del hub.models[NAME][WEIGHTS]
        line = refused("has neither model.safetensors nor model.safetensors.index.json", folder=folder)
        assert "it has README.md, config.json, flax_model.msgpack, onnx/model.onnx, pytorch_model.bin, " in line
        assert not folder.exists()

    def test_no_configuration(self, hub, folder):
        del hub.models[NAME]["config.json"]
        refused("^someone/tiny-bert has no config.json; it has README.md, ", folder=folder)

    def test_no_bert(self, hub, folder):
        hub.models[NAME]["config.json"] = b'{"model_type": "gpt2"}'
        refused("^someone/tiny-bert: this is the configuration of a 'gpt2' model; numbert reads", folder=folder)
        assert not hub.ranges(WEIGHTS), "that is known before the weights are fetched"
        assert not folder.exists()

    def test_a_missing_shard_or_one_elsewhere(self, hub, folder, published):
        hub.models[NAME] = files = sharded(published)
        del files["model-2-of-2.safetensors"]
        refused("names 'model-2-of-2.safetensors', which is not beside it", folder=folder)
        for shard in ("onnx/model.onnx", "../model.safetensors"):
            files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": shard}}).encode()
            refused(f"names '{shard}', which is not beside it", folder=folder)

    def test_gated(self, hub, folder):
        hub.gated.add(NAME)
        refused("is gated: agree to its terms at http.*/someone/tiny-bert, then `hf auth login`", folder=folder)

    def test_server_not_reachable(self, hub, folder, monkeypatch):
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
        refused("^http://127.0.0.1:9 failed: ", folder=folder)
        assert not folder.exists()

    @pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}"])
    def test_a_server_that_is_no_hub(self, hub, folder, monkeypatch, answer):
        monkeypatch.setattr("hub.listing", lambda *_: json.loads(answer) if answer != b"<html>" else None)
        refused(f"^{hub.url} does not answer as a hub does: ", folder=folder)

    def test_checksums_that_are_none(self, hub, folder, monkeypatch):
        files = [{"rfilename": name, "size": 3, "blobId": "../../up"} for name in ("config.json", WEIGHTS)]
        monkeypatch.setattr("hub.listing", lambda *_: {"id": NAME, "sha": COMMIT, "siblings": files})
        refused(f"^{hub.url} gives no checksum of config.json of someone/tiny-bert$", folder=folder)

    def test_the_package_is_not_installed(self, monkeypatch):
        for module in [name for name in sys.modules if name.startswith("huggingface_hub")]:
            monkeypatch.setitem(sys.modules, module, None)
        refused(r"huggingface_hub, which is not installed: pip install huggingface_hub$")


class TestTheDisk:
    def test_what_is_there_is_left_untouched(self, hub, folder):
        folder.mkdir()
        (folder / "thesis.txt").write_text("precious")
        refused(
            "tiny-bert is in the way: it holds other files; name a folder that is new or empty$", folder=folder
        )
        refused("thesis.txt is in the way: it is not a folder$", folder=folder / "thesis.txt")
        assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
        assert (folder / "thesis.txt").read_text() == "precious"
        assert not hub.requests

    def test_a_finished_download_is_left_untouched(self, hub, folder):
        download(NAME, folder)
        hub.requests.clear()
        refused("is in the way", folder=folder)
        assert not hub.requests

    def test_a_disk_too_small_is_told_before(self, hub, folder, monkeypatch):
        usage = shutil.disk_usage(folder.parent)._replace(free=100)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
        refused(r"tiny-bert needs 0\.0 MB more; its disk has 0\.0 MB free", folder=folder)
        assert not hub.ranges(WEIGHTS)

    def test_a_disk_that_fills_up(self, hub, folder, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("numbert.files.hub.to_disk", full)
        refused("tiny-bert cannot be written: the disk is full; what is there is kept", folder=folder)

    def test_a_folder_that_cannot_be_made(self, hub, tmp_path):
        (tmp_path / "file").touch()
        refused("file.* cannot be written: Not a directory$", folder=tmp_path / "file" / "model")
