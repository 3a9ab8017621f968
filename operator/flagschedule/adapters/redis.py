"""The host's cache in Redis: one key for each environment. Implements ports.processing.Cache."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import redis

from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError

_TIMEOUT: Final = 0.5  # seconds; a slow cache must not make changes late
# Concerns all keys: each other one would be refused, too.
_REFUSES_ALL: Final = (redis.AuthenticationError, redis.ReadOnlyError, redis.BusyLoadingError, redis.ConnectionError)
_AWAY: Final = "the cache does not answer; check REDIS_URL and that Redis is running and reachable"
# By the texts of Redis, redis-py and OpenSSL, because most causes are one exception; first match wins.
_CAUSES: Final = {
    r"invalid (username-password|password)": (
        "the cache refuses the user or the password in REDIS_URL, or that in REDIS_PASSWORD"
    ),
    r"already authenticated|Authentication required": (
        "REDIS_URL has no password, and the cache requires one; set REDIS_PASSWORD"
    ),
    r"DB index": "the cache has no database of the number at the end of REDIS_URL",
    r"no permissions": (
        "the user in REDIS_URL lacks a right in the cache; its ACL needs ~feature_flags:* and +del, "
        "and +select where the URL ends with another database than 0"
    ),
    r"max number of clients": "the cache takes no more clients; raise its maxclients, or end other connections",
    r"read only replica": "the cache is a replica and takes no changes; let REDIS_URL name the primary",
    r"loading the dataset": "the cache is loading its data; this passes by itself",
    r"Name or service not known|No address associated|name resolution": (
        "the host in REDIS_URL is not known; check its spelling, and the DNS of this machine or pod"
    ),
    r"certificate is not valid for|[Mm]ismatch": (
        "the cache's certificate is for another host than the one in REDIS_URL; name the host as the certificate does"
    ),
    r"certificate verify failed": (
        "the cache's certificate is not trusted (its authority is unknown, or it has expired); "
        "check ssl_ca_certs in REDIS_URL, and the certificate's dates"
    ),
    r"No such file|Permission denied": "the certificate file in REDIS_URL cannot be read; check ssl_ca_certs",
    r"Connection refused": "nothing listens at the host and port in REDIS_URL; check both, and that Redis is running",
    r"SSL|Connection reset|Connection closed|Protocol Error": (
        "the cache ended the connection; it restarts, or REDIS_URL needs rediss:// (with TLS) instead of redis://, "
        "or the other way around"
    ),
    r"[Tt]imeout|timed out|No route|unreachable": (
        f"the cache did not answer within {_TIMEOUT} seconds; check the host in REDIS_URL, firewalls and network "
        "policies on the way, and that rediss:// is used with TLS only"
    ),
}


class RedisCache:
    """Deletes `feature_flags:{environment}`; connects with the first deletion."""

    def __init__(self, url: str, password: str | None = None) -> None:
        try:
            self._client = redis.Redis.from_url(
                url, password=password, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
            )
            self._client.connection_pool.make_connection()  # connects to nothing yet; finds unknown options
        except (ValueError, TypeError):
            raise ConfigurationError(
                ["REDIS_URL: cannot be parsed; it must look like redis://:password@host:port/0"]
            ) from None

    def invalidate(self, environments: Sequence[str]) -> Mapping[str, str]:
        """See ports.processing.Cache. Each key by a command of its own: one that is refused keeps no other one.

        Raises:
            DependencyUnavailableError: with a sentence for the cause, which shows nothing of the address.
        """
        if not environments:
            return {}
        try:
            pipeline = self._client.pipeline(transaction=False)
            for environment in environments:
                pipeline.delete(f"feature_flags:{environment}")
            answers = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            raise DependencyUnavailableError(_explain(error)) from error
        if isinstance(answers[0], _REFUSES_ALL):
            raise DependencyUnavailableError(_explain(answers[0])) from answers[0]
        return {
            environment: _word(answer)
            for environment, answer in zip(environments, answers, strict=True)
            if isinstance(answer, Exception)
        }


def _explain(error: Exception) -> str:
    """What is wrong and what to do; no part of the text is repeated."""
    return next((sentence for pattern, sentence in _CAUSES.items() if re.search(pattern, str(error))), _AWAY)


def _word(error: Exception) -> str:
    """The kind of a refusal; the text behind it names keys, users and hosts."""
    word = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return word if word.isalpha() and word.isupper() else type(error).__name__
