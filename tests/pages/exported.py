"""Exports to look at."""

from django.test import override_settings

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.exports import services as exports
from hub.exports.models import Export
from hub.exports.services import Wish
from hub.indexes.models import ComposedCheckpoint
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from tests.hub import making


def exports_in_every_state(release: Release, checkpoint: ComposedCheckpoint, ada: User, cleo: User) -> Export:
    """One of each end, and one on its way."""
    there = "https://other-hub.example"
    notes = {"ada-l/refused": f"{there} does not let this token write there (ada-l/refused, status 403)"}
    with override_settings(EXPORT_TO=(there,)):
        for repo in ("ada-l/haiku", "ada-l/refused"):
            exports.export_release(
                release=release, by=ada, wish=Wish(repo, "hf_x"), hub="https://hub.example"
            )
            claim = making.take(JobKind.EXPORT)
            if repo in notes:
                exports.record_refused(claim, claim.ids["export_id"], note=notes[repo])
            else:
                exports.record_done(claim, claim.ids["export_id"], commit="c0ffee" * 6 + "c0ff")
            jobs.finish(claim)
        exports.export_checkpoint(
            checkpoint=checkpoint, by=cleo, wish=Wish("demo/whole", "hf_x"), hub="https://hub.example"
        )
        return exports.export_release(
            release=release, by=ada, wish=Wish("ada-l/again", "hf_x"), hub="https://hub.example"
        )
