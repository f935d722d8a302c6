"""The worker's app with dangerous jobs instead of its own: `celery -A tests.workers.poison_app`."""

from workers.app import app

app.conf.include = ["tests.workers.poison"]
