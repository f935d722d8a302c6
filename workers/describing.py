"""DESCRIBE: write again what adapters are found by, where older rules wrote it.

What is written is current: a worker that begins again goes on where the last one stopped.
"""

from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.search import services


def describe(claim: Claim) -> None:
    some = services.batches(services.outdated())
    total, done, untrue = sum(map(len, some)), 0, 0
    for pks in some:
        untrue += services.write_again(pks)
        done += len(pks)
        jobs.report_progress(claim, done, total, "adapters are found by what they say")
    jobs.log(claim, f"{untrue} of {total} entries that older rules had written say something else now")
