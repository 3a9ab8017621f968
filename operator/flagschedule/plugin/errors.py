"""The failures that a user sees as one sentence."""


class PluginError(Exception):
    """The command cannot be carried out; the message says why, and what to do."""


class KubectlError(PluginError):
    """kubectl has failed; the message is what it printed."""

    @property
    def is_forbidden(self) -> bool:
        """Whether the user lacks a right."""
        return "(Forbidden)" in str(self)

    @property
    def is_not_found(self) -> bool:
        """Whether there is no such object."""
        return "(NotFound)" in str(self)

    @property
    def is_not_served(self) -> bool:
        """Whether the cluster does not have this kind."""
        words = ("the server doesn't have a resource type", "the server could not find the requested resource")
        return any(each in str(self) for each in words)
