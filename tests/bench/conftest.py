import pytest
from benches import TINY, leave_out_peers

from numbert import BertConfig
from numbert.bench import race


@pytest.fixture(autouse=True, scope="session")
def in_a_hurry():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race, "PAUSE", 0)
        yield


@pytest.fixture
def without_peers(monkeypatch):
    leave_out_peers(monkeypatch)


@pytest.fixture(scope="session")
def config():
    return BertConfig(**TINY)
