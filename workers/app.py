"""The worker's end of the queue: `python -m celery -A workers.app worker --queues cpu,gpu,io`.

A message is only a doorbell that carries a job's id; the truth about work is the hub's job table. So nothing
here retries, stores results or needs a durable broker.
"""

import gc
import importlib
import os

import django
from celery import Celery, signals
from django.conf import settings
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
django.setup()

# On Redis the message of a killed worker comes back after the timeout. The job's lease is quicker, and what
# comes twice finds nothing to claim. In memory this process asks only itself, so it may ask often.
REDIS_OPTIONS = {
    "visibility_timeout": 900,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 1,
    "socket_timeout": 5,
    "max_retries": 0,
}
QUEUES = ("cpu", "gpu", "io")  # each with an exchange of its own, or a message would reach all of them
MEMORY_OPTIONS = {"polling_interval": 0.05}

app = Celery("workers", include=["workers.tasks"])
app.conf.update(
    broker_url=settings.REDIS_URL or "memory://localhost/",
    broker_transport="workers.broker:Transport" if settings.REDIS_URL else None,
    broker_transport_options=REDIS_OPTIONS if settings.REDIS_URL else MEMORY_OPTIONS,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
    task_default_queue="cpu",
    task_create_missing_queues=False,
    task_acks_late=True,
    task_reject_on_worker_lost=False,
    task_retry_on_worker_lost=False,
    task_publish_retry=False,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=100,
    worker_max_memory_per_child=4 * 1024 * 1024,  # kilobytes; looked at between jobs
    worker_lost_wait=1.0,
    worker_soft_shutdown_timeout=10.0,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_log_format="%(levelname)s %(message)s",
    worker_task_log_format="%(levelname)s %(message)s",
    worker_redirect_stdouts=False,
)
app.steps["worker"].add("workers.poller:Poller")


def _import_duties(**_: object) -> None:
    """Before Celery does, and without looking for garbage: there is none, and it takes a seventh of it."""
    gc.disable()
    try:
        for module in app.conf.include:
            importlib.import_module(module)
    finally:
        gc.enable()


def _settle(**_: object) -> None:
    """Celery looks for garbage before it forks: not among what is here now, which stays for good."""
    gc.freeze()


signals.import_modules.connect(_import_duties, sender=app, weak=False)
signals.celeryd_init.connect(_settle, weak=False)
