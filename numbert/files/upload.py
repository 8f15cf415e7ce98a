"""PushToHubMixin: uploading a model and its tokenizer to a Hugging Face hub."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from numpy.typing import DTypeLike

from numbert.errors import InputError, as_bool, shown
from numbert.files.hub import bars, failures, first_line, hub_for, package
from numbert.files.names import NamedModel
from numbert.files.save import save_model
from numbert.files.tokenizer import save_tokenizer
from numbert.progress import to_terminal

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class PushToHubMixin:
    """What uploads a model to a hub."""

    def push_to_hub(
        self: NamedModel,
        repo_id: str,
        *,
        tokenizer: Tokenizer | None = None,
        commit_message: str | None = None,
        private: bool = False,
        dtype: DTypeLike | None = None,
        progress: bool = True,
    ) -> str:
        """Uploads what `save_pretrained` writes, in one commit to the branch main, and returns its address.

        The hub is the one that HF_ENDPOINT names, or huggingface.co. The token, which must have the right to
        write, is HF_TOKEN's, or the one that `hf auth login` stored. Other files of the repository stay.

        Args:
            repo_id: the name on the hub, such as someone/tiny-bert; without an owner it is one of your own. Where
                there is none of this name, it is made.
            tokenizer: the model's tokenizer, as `load_tokenizer` returns it; its files are uploaded, too.
            commit_message: one line; default "Upload" and the name of the model's class.
            private: whether a repository that is made can be seen by its owner alone; one that is there stays as
                it is.
            dtype: float16, float32 or float64 for the weights; default the model's dtype.
            progress: whether to show a bar for each large file on stderr, if that is a terminal.

        Raises:
            InputError: the package huggingface_hub is not installed; an argument is not as said above; there is no
                token, or it may not write there; the hub cannot be reached or fails.
        """
        hub, private = hub_for(repo_id), as_bool("private", private)
        if commit_message is None:
            commit_message = f"Upload {type(self).__name__}"
        if not isinstance(commit_message, str) or not commit_message.strip():
            raise InputError(f"commit_message is {shown(commit_message)}; it must be a text")
        if tokenizer is not None and not hasattr(tokenizer, "to_str"):
            raise InputError(f"tokenizer is {shown(tokenizer)}; it must be a tokenizers.Tokenizer")
        if package("utils").get_token() is None:
            raise InputError("uploading needs a token with the right to write: `hf auth login` or set HF_TOKEN")
        with (
            tempfile.TemporaryDirectory() as folder,
            bars(progress and to_terminal()),
            _errors_in_one_line(hub.endpoint, repo_id),
        ):
            save_model(self, folder, dtype)
            if tokenizer is not None:
                save_tokenizer(tokenizer, folder, self.config.max_position_embeddings)
            repo_id = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = hub.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message)
            return str(commit.commit_url)


@contextlib.contextmanager
def _errors_in_one_line(endpoint: str, name: str) -> Iterator[None]:
    """Turns what the network, the hub and the disk raise into InputErrors."""
    try:
        yield
    except InputError:
        raise
    except RuntimeError as error:  # the package's, for a large file; the reason is its cause
        raise _refusal(endpoint, name, error.__cause__ or error) from None
    except failures() as error:
        raise _refusal(endpoint, name, error) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{endpoint} does not answer as a hub does: {first_line(error)}") from None


def _refusal(endpoint: str, name: str, error: BaseException) -> InputError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return InputError(f"{endpoint} does not know the token: `hf auth login` or set HF_TOKEN")
    if status == 403:
        return InputError(f"{endpoint} does not let this token write to {name}")
    if isinstance(error, OSError) and error.filename is not None:
        return InputError(f"{error.filename} cannot be written: {error.strerror}")
    return InputError(f"{endpoint} failed: {first_line(error)}")
