"""What this worker can do: every kind of job, by whom it is done and how long it may take."""

from hub.jobs.models import JobKind
from workers import (
    ablating,
    cluster_training,
    clusters,
    composition,
    describing,
    exporting,
    feeding,
    gates,
    importing,
    indexing,
    inspection,
    introductions,
    mailing,
    promotion,
    reading,
    validation,
    vectors,
)
from workers.app import app
from workers.claiming import Duty
from workers.registration import register

DUTIES = {
    JobKind.INSPECT_BASE: Duty(inspection.inspect, seconds=1800),
    JobKind.VALIDATE: Duty(validation.validate, seconds=900),
    JobKind.VECTORS: Duty(vectors.compute, seconds=900),
    JobKind.GATES: Duty(gates.train, seconds=7200),
    JobKind.INDEX: Duty(indexing.publish, seconds=900),
    JobKind.PROMOTE: Duty(promotion.promote, seconds=60),
    JobKind.COMPOSE: Duty(composition.compose, seconds=7200),
    JobKind.CLUSTER: Duty(clusters.find, seconds=7200),
    JobKind.TRAIN_CLUSTER: Duty(cluster_training.train, seconds=14400),
    JobKind.IMPORT: Duty(importing.bring, seconds=1800),
    JobKind.INTRODUCE: Duty(introductions.introduce, seconds=7200),
    JobKind.FEED: Duty(feeding.read, seconds=600),
    JobKind.EXPORT: Duty(exporting.push, seconds=7200),
    JobKind.MAIL: Duty(mailing.send, seconds=120),
    JobKind.ABLATE: Duty(ablating.ablate, seconds=14400),
    JobKind.READ_CARDS: Duty(reading.read_cards, seconds=14400),
    JobKind.DESCRIBE: Duty(describing.describe, seconds=7200),
}

register(app, DUTIES)
