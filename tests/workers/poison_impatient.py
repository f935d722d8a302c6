"""The dangerous worker, which waits only a moment for running jobs when it is asked to stop."""

from workers.app import app

app.conf.include = ["tests.workers.poison"]
app.conf.worker_soft_shutdown_timeout = 0.5
