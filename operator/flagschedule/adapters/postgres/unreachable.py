"""Why a connection to Postgres could not be opened, in a sentence that shows nothing of the address.

psycopg gives no SQLSTATE for these failures, so they are distinguished by the texts of libpq, Postgres and PgBouncer.
Of a server with another language than English no more is known than that it refuses.
"""

import re
from collections.abc import Mapping
from typing import Final

import psycopg

from flagschedule.domain.errors import (
    ConfigurationError,
    CredentialsRefusedError,
    DependencyUnavailableError,
    FlagScheduleError,
)

URL: Final = "DATABASE_URL"
AWAY: Final = f"the database does not answer; check {URL} and that Postgres is running and reachable"
READ_ONLY: Final = (
    f"the database is a standby and takes no changes; let {URL} name the primary, "
    "or all servers of the cluster, separated by commas"
)
FENCED: Final = (
    "the database server takes no changes, because its configuration sets default_transaction_read_only; "
    "a managed server does so when its disk is full, an administrator during maintenance"
)

_INVALID: Final = {
    r"invalid sslmode value": f"{URL}: its sslmode is none; write disable, prefer, require, verify-ca or verify-full",
    r'invalid port number|connection option "port"': (
        f"{URL}: its port is no number from 1 to 65535; an address of IPv6 stands in brackets, as in @[::1]:5432/"
    ),
    r"channel binding": f"{URL}: channel_binding=require needs TLS; choose another sslmode, or prefer",
    r"invalid \S+ value|invalid value \S+ for|invalid integer value|could not match \d+": (
        f"{URL}: one of its options has a value that libpq does not know; correct what stands behind the question mark"
    ),
    r"certificate file .* does not exist|could not (read|open|get home).*certificate file": (
        f"{URL}: the certificate file that it or the environment names cannot be read; check sslrootcert and sslcert"
    ),
    r"private key file": f"{URL}: the private key of its client certificate cannot be used; check sslkey and its mode",
}
_LOGIN: Final = {
    r"local user with ID|could not look up local user|no PostgreSQL user name": (
        f"no user is named; write it into {URL}, the file user of DATABASE_FOLDER, or PGUSER"
    ),
    r"no password supplied": f"{URL} has no password, and the database requires one",
    r'role ".*" does not exist|no such user|[Tt]enant or user not found': (
        f"the database does not know the user in {URL}; a pooler for several projects needs the project's name in it"
    ),
    r"is not permitted to log in": f"the user in {URL} is a group that may not log in; name one of its members",
    r"authentication failed": f"the database refuses the user or the password in {URL}",
}
_AWAY: Final = {
    r'database ".*" does not exist|no such database': (
        f"the server has no database of the name in {URL}; create it, or correct the name"
    ),
    r"permission denied for database": (
        f"the user in {URL} may not connect to its database; let an administrator GRANT CONNECT on it"
    ),
    r"is not currently accepting connections": f"the database in {URL} takes no connections (ALLOW_CONNECTIONS false)",
    r"no pg_hba.conf entry|pg_hba.conf rejects": (
        "the server's pg_hba.conf does not let us in; it needs a line for this user, database and address, "
        f"or {URL} needs sslmode=require"
    ),
    r"failed to resolve host|could not translate host name|Name or service not known": (
        f"the host in {URL} is not known; check its spelling, and the DNS of this machine or pod"
    ),
    r"does not match host name|could not get server's host name": (
        f"the server's certificate is for another host than the one in {URL}; name the host as the certificate does"
    ),
    r"certificate verify failed": (
        "the server's certificate is not trusted (its authority is unknown, or it has expired); "
        f"check sslrootcert in {URL} or PGSSLROOTCERT, and the certificate's dates"
    ),
    r"server does not support SSL": (
        f"the server speaks no TLS, and {URL} or PGSSLMODE demands it; enable it there, or choose another sslmode"
    ),
    r"SSL error|SSL SYSCALL|tlsv1|invalid response to SSL": (
        f"TLS with the server failed; check the port in {URL}, its sslmode, and the server's TLS settings"
    ),
    r"too many (clients|connections)|remaining connection slots|no more connections allowed|max_client_conn": (
        "the database has no connection left for us; raise max_connections, the role's CONNECTION LIMIT or the "
        "pooler's limit, or end other sessions"
    ),
    r"starting up|shutting down|in recovery mode|not yet accepting|not accepting connections": (
        "the database is starting or stopping; this passes by itself"
    ),
    r"in hot standby mode|session is read-only|is not in read-write": READ_ONLY,
    r"unsupported startup parameter": (
        f"the pooler refuses an option in {URL}; remove `options` from it, or let the pooler ignore it "
        "(PgBouncer: ignore_startup_parameters)"
    ),
    r"unrecognized configuration parameter|invalid value for parameter": (
        f"the server does not know a setting in the `options` of {URL}; correct or remove it"
    ),
    r"query_wait_timeout|client_login_timeout|server_login_retry|server login": (
        "the pooler gets no session of the database for us; check the pooler's own login, and its pool size"
    ),
    r"connection to server on socket .*(No such file|Connection refused)": (
        f"no host is named, and no Postgres runs on this machine; write the host into {URL}, the file host of "
        "DATABASE_FOLDER, or PGHOST"
    ),
    # Last: where a name has several addresses, all their failures are in one text.
    r"Connection refused": (
        f"nothing listens at the host and port in {URL}; check both, and that Postgres is running there"
    ),
    r"No route to host|[Nn]etwork is unreachable|timeout expired|Connection timed out": (
        f"the host in {URL} does not answer; check it and the port, and firewalls and network policies on the way"
    ),
    # A severity, in any language: it is the server's or the pooler's answer.
    r"failed: [^\W\d_]+:  ": (
        f"what {URL} leads to answers and refuses us, for a reason that is not known here; its log, or psql with the "
        "same URL, shows it"
    ),
}


def explain(error: psycopg.Error, name: str = URL) -> FlagScheduleError:
    """The failure to connect as an error of ours; no part of the text is repeated.

    Args:
        error: what the driver raised.
        name: the settings that hold the address.

    Returns:
        ConfigurationError where the URL itself is wrong, CredentialsRefusedError where the login is refused, else
        DependencyUnavailableError.
    """
    text = str(error)

    def find(sentences: Mapping[str, str]) -> str | None:
        found = next((sentence for pattern, sentence in sentences.items() if re.search(pattern, text)), None)
        return found and found.replace(URL, name)

    if sentence := find(_INVALID):
        return ConfigurationError([sentence])
    if sentence := find(_LOGIN):
        return CredentialsRefusedError(sentence)
    return DependencyUnavailableError(find(_AWAY) or AWAY.replace(URL, name))
