"""The hub's end of the doorbell: a client that can ring, and runs nothing (workers/app.py has the worker's
end).
"""

from celery import Celery
from django.conf import settings

app = Celery("hub", set_as_current=False)
app.conf.update(
    broker_url=settings.REDIS_URL or "memory://",
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    # A broker that is down costs a tenth of a second, a frozen one two; the request goes on either way.
    broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2, "max_retries": 0},
    broker_connection_retry=False,
    broker_connection_retry_on_startup=False,
    broker_connection_timeout=1,
    task_publish_retry=False,
)
