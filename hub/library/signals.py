"""What other apps may want to know about libraries. Sent inside the transaction that makes it true."""

from django.dispatch import Signal

settings_changed = Signal()  # library, before, after: in a few words each; by, reason
