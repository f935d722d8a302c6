"""INSPECT_BASE: find out what a library's base model is, and put it where serving finds it."""

from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.library import services as libraries
from hub.library.models import Library
from routing.base import inspect_base, load_base
from routing.errors import UnsupportedBase
from routing.index import manifest_of
from routing.neutral import neutral_tokens
from routing.store import LibraryRef
from workers.claiming import CannotBeDone
from workers.places import base_name, base_ref, index_store
from workers.promotion import BASE_ALONE, serve_what_the_hub_says


def inspect(claim: Claim) -> None:
    library = Library.objects.get(pk=claim.ids["library_id"])
    jobs.report_progress(claim, 0, 2, "reading the base model")
    try:
        spec = inspect_base(base_ref(library), name=base_name(library))
    except UnsupportedBase as error:
        raise CannotBeDone(str(error)) from error
    jobs.log(claim, f"{spec.architecture} with {len(spec.target_modules)} target modules")
    jobs.report_progress(claim, 1, 2, "drawing neutral text from it")
    store = index_store()
    ref = base_ref(library)
    neutral = store.put_neutral(neutral_tokens(load_base(ref, spec=spec)))
    store.set_library(library.slug, LibraryRef(ref, store.put_base(spec), neutral))
    store.write_version(library.slug, BASE_ALONE, manifest_of(spec.digest, ()))
    reach("inspect.stored")
    libraries.record_base(claim, library.pk, spec.to_json(), digest=spec.digest)
    reach("inspect.recorded")
    serve_what_the_hub_says(library.pk)
