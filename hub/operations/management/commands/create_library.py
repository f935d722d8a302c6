"""manage.py create_library"""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from hub.jobs import queries as jobs
from hub.library import services
from hub.library.models import Library
from hub.library.policy import PRIORS, ROUTERS, Policy
from hub.operations.command import HubCommand, user_called
from hub.operations.following import follow
from hub.operations.model_places import model_place

DECIDED: dict[str, Any] = {"action": "store_true", "default": None}  # a part that is decided by being named


class Command(HubCommand):
    help = (
        "Found a library on a base model: a folder as transformers saves it, or a hub id (with a revision). "
        "A worker then inspects the base; uploads are taken when that is done. Asking again for the same "
        "library changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="the library's name in addresses, for example stories")
        parser.add_argument("base", help="folder of the base model, or a hub id such as org/name")
        parser.add_argument("--revision", default="", help="branch, tag or commit of a hub id")
        parser.add_argument("--name", default="", help="the name that people read")
        parser.add_argument("--description", default="")
        parser.add_argument("--maintainer", help="who decides what it serves (a user name)")
        parser.add_argument(
            "--hold", action="store_true", help="publish versions, but let a person promote them"
        )
        parser.add_argument(
            "--review", action="store_true", help="each new release waits until a maintainer lets it in"
        )
        parser.add_argument("--wait", action="store_true", help="follow the inspection until it is done")
        _add_learning(parser)
        _add_policy(parser)

    def handle(self, **options: Any) -> None:
        source = model_place(options["base"])
        library = Library.objects.filter(slug=options["slug"]).first()
        if library is None:
            library = self._found(options, source)
            self.stdout.write(f"library {library.slug} on {source}")
        elif library.base_source != source:
            raise CommandError(f"there is a library {library.slug} already, on {library.base_source}")
        else:
            self.stdout.write(f"library {library.slug} is there already ({library.status})")
        if options["wait"] and library.status != Library.Status.READY:
            follow(
                jobs.about(library_id=library.pk).filter(kind="workers.inspect_base").latest("pk"),
                say=self.stdout.write,
            )

    def _found(self, options: dict[str, Any], source: str) -> Library:
        parts = {part: options[part] for part in Policy.model_fields}
        return services.create_library(
            slug=options["slug"],
            base_source=source,
            base_revision=options["revision"],
            name=options["name"],
            description=options["description"],
            policy={part: value for part, value in parts.items() if value is not None},
            auto_promote=not options["hold"],
            review_releases=options["review"],
            train_gates=options["train_gates"],
            embed_samples=options["embed_samples"],
            encoder_source=model_place(options["encoder"]) if options["encoder"] else "",
            encoder_revision=options["encoder_revision"],
            maintainer=user_called(options["maintainer"]) if options["maintainer"] else None,
        )


def _add_learning(parser: CommandParser) -> None:
    """What workers learn about experts besides their weights."""
    group = parser.add_argument_group("what is learnt")
    group.add_argument(
        "--train-gates", action="store_true", help="train PHATGOOSE gates where there are sample rows"
    )
    group.add_argument(
        "--embed-samples",
        action="store_true",
        help="introduce experts by embeddings of their sample prompts, published with the index, "
        "and train a classifier on them at each version",
    )
    group.add_argument(
        "--encoder",
        default="",
        help="a sentence encoder that reads prompts in the base's place: a folder or a hub id",
    )
    group.add_argument("--encoder-revision", default="", help="branch, tag or commit of its hub id")


def _add_policy(parser: CommandParser) -> None:
    """How answers are routed unless a request says otherwise."""
    group = parser.add_argument_group("the routing policy")
    group.add_argument("--router", choices=ROUTERS, help="default: arrow")
    group.add_argument("--top-k", type=int, help="experts per token and module (default: 3)")
    group.add_argument("--temperature", type=float, help="of the mixing weights (default: 1.0)")
    group.add_argument(
        "--shortlist", type=int, help="experts that a whole prompt is narrowed to first (default: 0, all)"
    )
    group.add_argument(
        "--calibrated", **DECIDED, help="measure scores in deviations from their mean on neutral text"
    )
    group.add_argument("--abstain", type=float, help="a token whose best score is lower keeps the plain base")
    group.add_argument(
        "--prior", choices=PRIORS, help="by what a whole prompt is judged, where asked (default: evidence)"
    )
    group.add_argument(
        "--prior-weight", type=float, help="of the prior's logarithm in each token's scores (default: 0)"
    )
    group.add_argument("--prior-abstain", **DECIDED, help="leave a prompt that is nobody's to the plain base")
    group.add_argument(
        "--general", nargs="+", help="adapters of general knowledge, which do not speak for themselves"
    )
    group.add_argument(
        "--subtract", type=float, help="how much of their mean every expert is less by (default: 0)"
    )
