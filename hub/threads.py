"""The threads of a web process that long answers may hold, so that short ones always find one."""

from threading import BoundedSemaphore

LENT = BoundedSemaphore(12)  # of the sixteen that a web process has
