"""An organisation's namespace to the unmodified client: whose role is enough uploads, the others do not."""

from pathlib import Path

from hub.accounts import organisations
from hub.accounts.models import User
from hub.adapters.models import Release
from tests.hub import making
from tests.hub.hf.conftest import Clients


def test_maintainers_upload_to_it_members_read_it_and_strangers_know_nothing_of_it(
    ada: User, eve: User, client_of: Clients, tmp_path: Path
) -> None:
    making.library()
    lab = organisations.found(name="rhyme-lab", by=making.user("cleo"))
    for user, role in ((ada, "maintainer"), (eve, "member")):
        organisations.invite(organisation=lab, user=user, role=role, by=lab.members.earliest("pk").user)
        organisations.accept(organisation=lab, user=user)
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path, content in making.PLAIN.items():
        (folder / path).write_bytes(content)

    done = client_of(ada).call("organisations", "upload_for", repo="rhyme-lab/poetry", folder=str(folder))
    member = client_of(eve).call("writing", "trespass", repo="rhyme-lab/poetry")
    read = client_of(eve).hf("download", "rhyme-lab/poetry", "adapter_config.json")
    stranger = client_of(making.user("bob")).hf("download", "rhyme-lab/poetry", "adapter_config.json")

    assert (done["orgs"], done["private"]) == ([["rhyme-lab", "write"]], True)
    assert Release.objects.get().commit.author == ada
    writes = {name: status for name, (status, _) in member.items() if name != "create"}  # which may be there
    assert writes == dict.fromkeys(writes, 403)
    assert read.returncode == 0, read.stderr
    assert stranger.returncode != 0
