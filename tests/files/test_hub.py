"""A hub: what downloads fetch, what is kept when they break off, what is never taken for a model; and uploads."""

import errno
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny
from hub import COMMIT, Hub, serving
from messages import one_line

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
        refused(r"huggingface_hub \(the extra `hub`\), which is not installed: pip install huggingface_hub$")


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


# --- uploads -----------------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    """As large as that which is published, and with other weights."""
    return numbert.BertForPreTraining(tiny.config(vocab_size=len(WORDS)), seed=8)


@pytest.fixture
def tokenizer():
    return bert_tokenizer({word: i for i, word in enumerate(WORDS)})


@pytest.fixture
def user(hub, monkeypatch):
    """The hub's user, whose token is in HF_TOKEN."""
    monkeypatch.setenv("HF_TOKEN", hub.token)
    # Else the package sends large files by a protocol of its own, through a library that is no Python.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    # Before version 1 the package takes a commit's address apart by the HF_ENDPOINT of its first import.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for module in ("constants", "file_download"):
        name = f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE"
        monkeypatch.setattr(name, template, raising=False)
    hub.models.clear()
    return hub


def not_uploaded(model, match, name=NAME, **options):
    """The one line with which an upload is refused."""
    with pytest.raises(InputError, match=match) as caught:
        model.push_to_hub(name, progress=False, **options)
    return one_line(caught)


class TestAnUpload:
    def test_is_what_save_pretrained_writes(self, user, model, tmp_path):
        address = model.push_to_hub(NAME)
        assert address == f"{user.url}/{NAME}/commit/{COMMIT}"
        model.save_pretrained(tmp_path)
        assert user.models == {NAME: {path.name: path.read_bytes() for path in tmp_path.iterdir()}}
        assert user.commits == [(NAME, "Upload BertForPreTraining", ["config.json", WEIGHTS])]
        assert not user.private

    def test_comes_back_by_a_download(self, user, model, tokenizer, folder):
        model.push_to_hub(NAME, tokenizer=tokenizer)
        download(NAME, folder)
        for name, array in parameters(folder).items():
            np.testing.assert_array_equal(array, model.state_dict()[name])
        assert load_tokenizer(folder).encode("the cat").tokens == ["[CLS]", "the", "cat", "[SEP]"]
        assert json.loads(user.models[NAME]["tokenizer_config.json"])["model_max_length"] == 11

    def test_its_message_its_type_and_who_sees_it(self, user, model):
        model.push_to_hub(NAME, commit_message="One epoch more", private=True, dtype=np.float16)
        assert user.commits[0][1] == "One epoch more"
        assert user.private == {NAME}
        assert json.loads(user.models[NAME]["config.json"])["dtype"] == "float16"

    def test_without_an_owner_it_is_the_users(self, user, model):
        assert f"/{NAME}/commit/" in model.push_to_hub("tiny-bert")
        assert set(user.models) == {NAME}

    def test_a_second_one_leaves_the_other_files_and_who_sees_them(self, user, model):
        user.models[NAME] = {"README.md": b"my model", "config.json": b"old"}
        model.push_to_hub(NAME, private=True)
        assert user.models[NAME]["README.md"] == b"my model"
        assert json.loads(user.models[NAME]["config.json"])["vocab_size"] == len(WORDS)
        assert not user.private

    def test_a_large_file_that_the_hub_has_is_not_sent_again(self, user, model):
        model.push_to_hub(NAME)
        user.requests.clear()
        model.push_to_hub(NAME)
        assert not [path for method, path, _ in user.requests if method == "PUT"]

    def test_nothing_is_left_on_the_disk(self, user, model, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        model.push_to_hub(NAME)
        assert list(tmp_path.iterdir()) == []


class TestWhatCannotBeUploaded:
    def test_without_a_token(self, user, model, monkeypatch, tmp_path):
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
        not_uploaded(model, "^uploading needs a token with the right to write: `hf auth login` or set HF_TOKEN$")
        assert not user.requests

    def test_with_a_token_that_the_hub_does_not_know(self, user, model, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        line = not_uploaded(model, "does not know the token: `hf auth login` or set HF_TOKEN$")
        assert "hf_wrong" not in line
        assert not user.models

    def test_without_the_right(self, user, model):
        not_uploaded(model, r"does not let this token write to another/tiny-bert$", "another/tiny-bert")
        user.models["another/tiny-bert"] = {}
        not_uploaded(model, r"does not let this token write to another/tiny-bert$", "another/tiny-bert")
        assert not user.commits

    def test_without_a_network(self, user, model, monkeypatch):
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
        not_uploaded(model, r"^http://127\.0\.0\.1:9 failed: ")

    def test_where_no_large_file_can_be_stored(self, user, model):
        user.full = True
        not_uploaded(model, r"failed: .*507")
        assert not user.commits, "one commit, or none"

    def test_to_a_server_that_is_no_hub(self, user, model, monkeypatch):
        monkeypatch.setattr("hub._Handler._create", lambda handler, asked: handler._json([]))
        not_uploaded(model, f"^{user.url} does not answer as a hub does: ")

    @pytest.mark.parametrize("name", ["", "a/b/c", "a b", "../up", None, 3])
    def test_to_no_name(self, user, model, name):
        not_uploaded(model, "is not a name on a hub", name)
        assert not user.requests

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("tokenizer", "a folder", r"must be a tokenizers\.Tokenizer$"),
            ("commit_message", "", "must be a text$"),
            ("commit_message", 3, "must be a text$"),
            ("private", 1, "must be True or False$"),
            ("dtype", np.int8, "can hold float16, float32 or float64$"),
        ],
    )
    def test_with_an_argument_that_is_none(self, user, model, option, value, message):
        not_uploaded(model, message, **{option: value})
        assert not user.requests

    def test_of_a_complex_model(self, user):
        model = numbert.BertModel(tiny.config(), dtype=np.complex128)
        not_uploaded(model, "can hold float32 or float64$")
        assert not user.requests

    def test_without_the_package(self, model, monkeypatch):
        for module in [name for name in sys.modules if name.startswith("huggingface_hub")]:
            monkeypatch.setitem(sys.modules, module, None)
        not_uploaded(model, r"huggingface_hub \(the extra `hub`\), which is not installed")

    def test_on_a_full_disk(self, user, model, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device", "config.json")

        monkeypatch.setattr("numbert.files.upload.save_model", full)
        not_uploaded(model, r"^config\.json cannot be written: No space left on device$")
