"""What `import numbert` gives, and how little it loads."""

import json
import subprocess
import sys

import pytest

import numbert


def loaded_by(code):
    """The modules that a fresh Python has loaded after some code."""
    code += "; import sys, json; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_importing_numbert_loads_what_a_model_needs_and_no_more():
    modules = loaded_by("import numbert")
    heavy = ("matplotlib", "scipy", "tokenizers", "tqdm", "torch", "transformers", "hypothesis", "pytest")
    later = ("numbert.proof", "numbert.pretrain", "numbert.text", "numbert.views", "numbert.bench", "numbert.cli")
    assert not {name for name in modules if name.split(".")[0] in heavy}
    assert not {name for name in modules if name.startswith(later)}
    assert "numbert.train.trainer" not in modules


def test_what_is_loaded_later_is_there_when_it_is_asked_for():
    assert numbert.gradcheck is numbert.proof.gradcheck
    assert issubclass(numbert.GradcheckError, AssertionError)
    assert {"gradcheck", "GradcheckError"} <= set(dir(numbert))
    assert "numbert.proof" in loaded_by("from numbert import gradcheck")


@pytest.mark.parametrize("name", numbert.__all__)
def test_every_public_name_is_there(name):
    assert getattr(numbert, name) is not None


def test_a_name_that_never_was_is_an_attribute_error():
    assert not hasattr(numbert, "BretModel")
    with pytest.raises(ImportError, match="cannot import name 'BretModel'"):
        exec("from numbert import BretModel")
