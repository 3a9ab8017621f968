"""What the reader chooses with environment variables. Called once, by the command."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from dev.demo.commands import DemoError


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The reader's choices.

    Attributes:
        once: DEMO_ONCE: end by itself instead of leaving everything running until Ctrl-C.
        context: DEMO_CONTEXT: a context of the reader's own kubeconfig to use; empty: make a cluster.
        image: DEMO_IMAGE: an image that the reader's cluster can pull; empty: build and load ours.
        host: DEMO_HOST: the address of this machine as the pods see it; empty: found out where that is possible.
    """

    once: bool = False
    context: str = ""
    image: str = ""
    host: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read them.

        Raises:
            DemoError: they do not go together.
        """
        once = environment.get("DEMO_ONCE", "").lower() not in {"", "0", "no", "false"}
        context, image, host = (environment.get(f"DEMO_{name}", "") for name in ("CONTEXT", "IMAGE", "HOST"))
        if not context and (image or host):
            raise DemoError("DEMO_IMAGE and DEMO_HOST are for a cluster of yours: name it with DEMO_CONTEXT as well.")
        return cls(once=once, context=context, image=image, host=host)
