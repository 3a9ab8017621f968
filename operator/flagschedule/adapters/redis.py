"""The host's cache in Redis: one key for each environment. Implements ports.Cache."""

from collections.abc import Sequence
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

    def invalidate(self, environments: Sequence[str]) -> None:
        """See ports.Cache."""
        try:
            self._client.delete(*(f"feature_flags:{environment}" for environment in environments))
        except (redis.RedisError, OSError) as error:
            raise DependencyUnavailableError("the cache does not answer; check REDIS_URL") from error
