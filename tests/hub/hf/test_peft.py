"""`push_to_hub` and `PeftModel.from_pretrained(base, "owner/name")`: the same weights, bit by bit."""

from pathlib import Path

from hub.accounts.models import User
from hub.adapters.models import Release
from tests import tiny
from tests.hub import making
from tests.hub.hf.conftest import Clients


def test_peft_loads_from_the_hub_what_was_trained_or_uploaded_bit_by_bit(
    ada: User, client_of: Clients, tmp_path: Path
) -> None:
    folder = tiny.tiny_adapter(tmp_path / "adapter")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    making.upload(ada, making.library(), "stored", files)

    seen = client_of(ada).call(
        "peft_loading",
        "there_and_back",
        base=str(tiny.tiny_llama()),
        pushed="ada/pushed",
        stored="ada/stored",
        folder=str(folder),
    )

    assert min(seen["tensors"]) > 0
    assert seen["different"] == []
    assert Release.objects.get(adapter__name="pushed").status == "received"
