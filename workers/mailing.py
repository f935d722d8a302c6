"""MAIL: send one person what they wanted to be told by e-mail, in one letter."""

from smtplib import SMTPRecipientsRefused

from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.notifications import letters, services
from workers.claiming import CannotBeDone


def send(claim: Claim) -> None:
    """A worker that dies between sending and saying so sends again: twice is better than never."""
    letter = letters.next_letter(claim.ids["user_id"])
    if letter is None:
        jobs.log(claim, "nothing to send, or no confirmed address")
        return
    try:
        letter.message.send()
    except SMTPRecipientsRefused as error:
        raise CannotBeDone("the mail server refuses this person's address") from error
    reach("mail.sent")
    services.record_sent(claim, letter.numbers)
    jobs.log(claim, f"{len(letter.numbers)} notifications in one letter")
