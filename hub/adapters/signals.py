"""What other apps may want to know about adapters. Sent inside the transaction that makes it true, before
jobs are asked for.
"""

from django.dispatch import Signal

described = Signal()  # adapter=Adapter: its name, its library or what its main says is another by now
settling = Signal()  # adapter=Adapter: something is to become of a release; sent before a job's row is held
standing_changed = Signal()  # adapter=Adapter: it has a new release, or something became of one
access_asked = Signal()  # access=Access: somebody wants an adapter's files
access_decided = Signal()  # access=Access: they may have them, or not
liked = Signal()  # adapter=Adapter, by=int: how many likes it has more
