"""What other apps may want to know about accounts. Sent inside the transaction that makes it true."""

from django.dispatch import Signal

membership_changed = Signal()  # membership=Membership, what=organisations.Happened, by=User
