"""What other apps may want to know about a job's end. Sent inside the transaction that ends it."""

from django.dispatch import Signal

job_failed = Signal()  # job=Job
job_retried = Signal()  # job=Job
