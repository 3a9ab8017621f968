"""The host's cache in Redis: one key for each environment. Implements ports.Cache."""

from collections.abc import Mapping, Sequence
from typing import Final

import redis

from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError

_TIMEOUT: Final = 0.5  # seconds; a slow cache must not make changes late


class RedisCache:
    """Deletes `feature_flags:{environment}`; connects with the first deletion."""

    def __init__(self, url: str) -> None:
        try:
            self._client = redis.Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
            self._client.connection_pool.make_connection()  # connects to nothing yet; finds unknown options
        except (ValueError, TypeError):
            raise ConfigurationError(
                ["REDIS_URL: cannot be parsed; it must look like redis://:password@host:port/0"]
            ) from None

    def invalidate(self, environments: Sequence[str]) -> Mapping[str, str]:
        """See ports.Cache. Each key by a command of its own: one that is refused keeps no other one."""
        if not environments:
            return {}
        try:
            pipeline = self._client.pipeline(transaction=False)
            for environment in environments:
                pipeline.delete(f"feature_flags:{environment}")
            answers = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            raise DependencyUnavailableError("the cache does not answer; check REDIS_URL") from error
        return {
            environment: _word(answer)
            for environment, answer in zip(environments, answers, strict=True)
            if isinstance(answer, Exception)
        }


def _word(error: Exception) -> str:
    """The kind of a refusal; the text behind it names keys, users and hosts."""
    word = str(error).partition(" ")[0]
    return word if word.isalpha() and word.isupper() else type(error).__name__
