"""Redis as kombu speaks with it, but for one thing: a message that could not be acknowledged is let go of.

kombu counts such a message as in hand for ever, and takes no more of them than there are places for jobs. A
worker whose jobs all ended while Redis was away would then wait for none, not even notice that its
connection is gone, and hear nothing again. Redis gives the message to somebody once more, who finds nothing
to claim.
"""

from typing import Any

from kombu.transport import redis, virtual


class QoS(redis.QoS):  # type: ignore[misc, unused-ignore]
    """What was taken and is not done."""

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        try:
            super().reject(delivery_tag, requeue)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):  # type: ignore[misc, unused-ignore]
    """A channel with it."""

    QoS: Any = QoS


class Transport(redis.Transport):  # type: ignore[misc, unused-ignore]
    """The transport that `broker_transport` names."""

    Channel: Any = Channel
