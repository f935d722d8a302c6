"""`PeftModel.from_pretrained(base, "owner/name")` from the hub: the same weights, bit by bit."""

from pathlib import Path

from hub.accounts.models import User
from tests import tiny
from tests.hub import making
from tests.hub.hf.conftest import Clients


def test_peft_loads_from_the_hub_what_was_saved_bit_by_bit(
    ada: User, client_of: Clients, tmp_path: Path
) -> None:
    folder = tiny.tiny_adapter(tmp_path / "adapter")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    making.upload(ada, making.library(), "poetry", files)

    seen = client_of(None).call(
        "peft_loading", "compare", base=str(tiny.tiny_llama()), repo="ada/poetry", folder=str(folder)
    )

    assert seen["tensors"] > 0
    assert seen["different"] == []
