"""A local registry of images and charts, from a Go module; it speaks no TLS.

For the test that installs what was pushed. Clients take HTTP for granted at a loopback address; a node of a cluster
reaches the same registry at another address of this machine, which `hosts_toml` names.
"""

import http.client
import shutil
import signal
from pathlib import Path
from typing import ClassVar, Final

from dev.localkind import programs
from dev.localkind.servers import server

_SECONDS: Final = 10
_ACCEPTED: Final = "application/vnd.oci.image.manifest.v1+json,application/vnd.docker.distribution.manifest.v2+json"


class Registry(server.Server):
    """A registry on a free port. See `server.Server`."""

    program: ClassVar = "registry"
    quit_signal: ClassVar = signal.SIGTERM

    @property
    def host(self) -> str:
        """What names of images and charts begin with: the first address and the port."""
        return f"{self.listen[0]}:{self.port}"

    def hosts_toml(self, address: str) -> str:
        """Return containerd's hosts.toml for `host`: look at another of the addresses, without TLS."""
        return f'server = "http://{address}:{self.port}"\n'

    def digest(self, repository: str, tag: str) -> str:
        """Return the digest of what was pushed under a tag.

        Raises:
            LookupError: nothing was.
        """
        connection = http.client.HTTPConnection(self.host, timeout=_SECONDS)
        try:
            connection.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": _ACCEPTED})
            found = connection.getresponse().headers["Docker-Content-Digest"]
        finally:
            connection.close()
        if found is None:
            raise LookupError(f"{self.host}/{repository}:{tag}")
        return found

    def _prepare(self) -> None:
        self.data.mkdir()
        self._hand_over(self.data)
        # A copy, because the user that runs it may not see the cache.
        shutil.copy2(programs.ensure([programs.REGISTRY])["registry"] / "registry", self._file)
        self._hand_over(self._file)

    @property
    def _file(self) -> Path:
        return self.folder / "registry"

    def _command(self) -> list[str | Path]:
        return [self._file, self.data, *(f"{address}:{self.port}" for address in self.listen)]

    def _answers(self, address: str) -> bool:
        connection = http.client.HTTPConnection(address, self.port, timeout=_SECONDS)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()
