"""Downloading a published BERT from a Hugging Face hub; every file is compared with its checksum."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numbert.config import BertConfig
from numbert.errors import InputError, abridged, shown
from numbert.files.atomic import check_new, to_disk
from numbert.files.weights import INDEX, WEIGHTS
from numbert.progress import to_terminal

CONFIG = "config.json"
# A model has some of these.
TOKENIZER = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

TIMEOUT = 30  # seconds that the hub has for its first answer


@dataclass(frozen=True)
class RemoteFile:
    """A file on a hub.

    Attributes:
        size: in bytes.
        checksum: hexadecimal; the SHA-256 of a large file, or the SHA-1 that git computes of another.
    """

    name: str
    url: str
    size: int
    checksum: str


def download(name: str, folder: str | Path | None = None, revision: str = "main", progress: bool = True) -> Path:
    """Downloads a model and its tokenizer from a hub and returns the model folder, for `from_pretrained`.

    Until every file is whole and has the right checksum, all of them stay in a hidden folder within the folder.
    After an interruption, the same call continues where it stopped. The hub is the one that HF_ENDPOINT names, or
    huggingface.co. The token for a private or gated model is HF_TOKEN's, or the one that `hf auth login` stored.

    Args:
        name: the model's name on the hub, such as google-bert/bert-base-cased.
        folder: a folder that does not exist, is empty, or holds an unfinished download of the same name; by
            default the last part of the name.
        revision: a branch, a tag or a commit.
        progress: whether to show a bar for each file on stderr, if that is a terminal.

    Raises:
        InputError: the package huggingface_hub is not installed; the hub cannot be reached, or has no such model;
            the model is no BERT or has no safetensors file; a file does not have the checksum that the hub
            names (it is removed); the folder holds something else; or the disk is full.
    """
    hub = hub_for(name)
    folder = Path(name.split("/")[-1] if folder is None else folder)
    unfinished = folder / f".unfinished-{name.replace('/', '--')}"
    if not unfinished.is_dir():
        check_new(folder)
    with bars(progress and to_terminal()), _errors_in_one_line(hub.endpoint, name, revision, unfinished):
        files = _files(hub, name, revision)
        unfinished.mkdir(parents=True, exist_ok=True)
        # The names hold the checksums: what another revision left here is not taken for a part of this one.
        parts = [unfinished / f"{file.name}.{file.checksum}" for file in files]
        _check_disk(folder, sum(file.size for file in files) - sum(map(_size, parts)))
        for file, part in zip(files, parts, strict=True):
            _fetch(file, part)
        # Without a config.json nothing takes the folder for a model, so that comes last; it is the first of all.
        for file, part in reversed(list(zip(files, parts, strict=True))):
            os.replace(part, folder / file.name)
        shutil.rmtree(unfinished)
    return folder


def _files(hub: Any, name: str, revision: str) -> list[RemoteFile]:
    """Lists the files of a model that numbert reads, config.json first and the weights last.

    Raises:
        InputError: the model has no weights that numbert reads, or is no BERT by its configuration.
    """
    info = hub.model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT)
    listed = {file.rfilename: file for file in info.siblings or ()}
    has = f"it has {abridged(sorted(listed), 12) or 'no files'}"

    def remote(filename: str) -> RemoteFile:
        file = listed[filename]
        checksum = str(file.lfs.sha256 if file.lfs else file.blob_id)
        # It becomes part of a path, so it is not taken on trust.
        if file.size is None or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", checksum):
            raise InputError(f"{hub.endpoint} gives no checksum of {filename} of {name}")
        # The commit and not the revision: that may move on while files are fetched.
        url = package("file_download").hf_hub_url(name, filename, revision=info.sha, endpoint=hub.endpoint)
        return RemoteFile(filename, url, file.size, checksum)

    if CONFIG not in listed:
        raise InputError(f"{name} has no {CONFIG}; {has}")
    if WEIGHTS not in listed and INDEX not in listed:
        raise InputError(f"{name} has neither {WEIGHTS} nor {INDEX}, and numbert reads no other weights; {has}")
    config = _read_json(remote(CONFIG))
    try:
        BertConfig.from_dict(config)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    wanted = [CONFIG, *(filename for filename in TOKENIZER if filename in listed)]
    if WEIGHTS in listed:
        wanted.append(WEIGHTS)
    else:
        shards = sorted({str(shard) for shard in _read_json(remote(INDEX))["weight_map"].values()})
        for shard in shards:
            if shard not in listed or Path(shard).name != shard:
                raise InputError(f"{INDEX} of {name} names {shard!r}, which is not beside it; {has}")
        wanted += [INDEX, *shards]
    return [remote(filename) for filename in wanted]


def _read_json(file: RemoteFile) -> dict[str, Any]:
    """Reads a small JSON file from the hub, for its content only; what is kept is downloaded by `_fetch`."""
    content = io.BytesIO()
    with bars(False):
        package("file_download").http_get(file.url, content, headers=_headers())
    values: dict[str, Any] = json.loads(content.getvalue())
    return values


def _fetch(file: RemoteFile, path: Path) -> None:
    """Downloads the part of a file that is still missing, and compares the whole with its checksum.

    The package's own hf_hub_download throws away a part of a file when it fails, so this function uses the one
    below it, which itself tries a broken connection again a few times.

    Raises:
        InputError: the file does not have the checksum that the hub names; it is removed.
    """
    if (there := _size(path)) < file.size or not path.exists():
        with path.open("ab") as part:
            package("file_download").http_get(
                file.url, part, resume_size=there, headers=_headers(), displayed_filename=file.name
            )
    with path.open("rb") as whole:
        if len(file.checksum) == 64:
            found = hashlib.file_digest(whole, "sha256").hexdigest()
        else:  # git's, of the contents after this header
            found = hashlib.file_digest(whole, lambda: hashlib.sha1(b"blob %d\0" % _size(path))).hexdigest()
    if found != file.checksum:
        path.unlink()
        raise InputError(
            f"{file.name} came with the checksum {found}, but the hub says {file.checksum}; "
            "it is removed, and the same command fetches it anew"
        )
    to_disk(path)


def _headers() -> dict[str, str]:
    """The user's token, and no compression: the place to continue at is counted in the file's own bytes."""
    return {**package("utils").build_hf_headers(), "Accept-Encoding": "identity"}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_disk(folder: Path, needed: int) -> None:
    if needed > (free := shutil.disk_usage(folder).free):
        raise InputError(f"{folder} needs {needed / 1e6:,.1f} MB more; its disk has {free / 1e6:,.1f} MB free")


@contextlib.contextmanager
def _errors_in_one_line(endpoint: str, name: str, revision: str, unfinished: Path) -> Iterator[None]:
    """Turns what the network, the hub and the disk raise into InputErrors."""
    errors = package("errors")
    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError:
        raise InputError(
            f"{name} is gated: agree to its terms at {endpoint}/{name}, then `hf auth login` or set HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"{endpoint} has no model {name}; if it is private, `hf auth login` or set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{name} has no revision {revision!r}") from None
    except failures() as error:
        kept = "; what is there is kept, and the same command goes on" if unfinished.is_dir() else ""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"{unfinished.parent} cannot be written: the disk is full{kept}") from None
        if isinstance(error, OSError) and error.filename is not None:
            raise InputError(f"{error.filename} cannot be written: {error.strerror}") from None
        raise InputError(f"{endpoint} failed: {first_line(error)}{kept}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{endpoint} does not answer as a hub does: {first_line(error)}") from None


# --- for downloads and uploads --------------------------------------------------------------------------------


def package(module: str) -> Any:
    """Imports a module of huggingface_hub; its type is Any, because the package need not be installed."""
    try:
        return importlib.import_module(f"huggingface_hub.{module}")
    except ImportError:
        raise InputError(
            "a hub needs the package huggingface_hub (the extra `hub`), which is not installed: "
            "pip install huggingface_hub"
        ) from None


def hub_for(name: str) -> Any:
    """Returns the hub that HF_ENDPOINT names, or huggingface.co, if it can have a model of this name.

    Raises:
        InputError: no hub can, or the package huggingface_hub is not installed.
    """
    utils = package("utils")
    try:
        utils.validate_repo_id("" if name is None else name)  # which lets None pass
    except ValueError:
        raise InputError(f"{shown(name)} is not a name on a hub, such as google-bert/bert-base-cased") from None
    # The package reads HF_ENDPOINT when it is first imported, which may have been before it was set.
    return package("hf_api").HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None)


def failures() -> Any:
    """Returns the exceptions that the network and the disk raise, for `except`.

    Among them are those of the package's HTTP client: requests', httpx's or httpx2's, by its version.
    """
    return (OSError, *package("errors").HfHubHTTPError.__bases__)


@contextlib.contextmanager
def bars(shown: bool) -> Iterator[None]:
    """Within it, the package's bars, which are on or off for the whole process, are as `shown` says."""
    utils = package("utils")
    if shown or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
