"""The bill of materials of the image, in CycloneDX: what it really contains.

These are Python's packages, with the libraries inside of their wheels, and Debian's. Called by the command
`python -m dev.image sbom`. Reads the files of an unpacked image and runs nothing of it.
"""

import re
from collections.abc import Iterable, Iterator
from email.parser import Parser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from dev.image import libraries

_PRODUCT: Final = "flagschedule"
_DISTRIBUTION: Final = "debian"


def text(image: Path) -> str:
    """Return the bill of an unpacked image, as JSON: the product, what it is built on, and what depends on what."""
    (packages,) = image.glob("opt/venv/lib/python3*/site-packages")
    found = {_name(each.name): each for each in distributions(path=[str(packages)])}
    components = {name: _of_python(name, each) for name, each in found.items()}
    product = components[_PRODUCT]
    product.type = ComponentType.APPLICATION
    inside = {name: [_of_part(part) for part in _parts(packages, each)] for name, each in found.items()}
    # Two wheels may have the same part; the bill has it once.
    parts = {str(part.purl): part for each in inside.values() for part in each}
    others = [one for one in components.values() if one is not product]
    bom = Bom(components=[*others, *parts.values(), *_of_debian(image)])
    bom.metadata.component = product
    for name, each in found.items():
        needed = [components[need] for need in _needs(each) if need in components]
        bom.register_dependency(components[name], [*needed, *(parts[str(part.purl)] for part in inside[name])])
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _name(name: str) -> str:
    """Return a package's name as the index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needs(package: Distribution) -> Iterable[str]:
    """Return the names of what it depends on or, as an extra, can use."""
    return {_name(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for need in package.requires or ()}


def _of_python(name: str, package: Distribution) -> Component:
    # Some packages put the whole text of the licence into the field for its name.
    about = package.metadata
    (stated, *_) = about.get_all("License-Expression") or about.get_all("License") or [""]
    purl = PackageURL("pypi", name=name, version=package.version)
    return Component(
        name=name,
        version=package.version,
        bom_ref=str(purl),
        purl=purl,
        licenses=[LicenseFactory().make_from_string(stated)] if stated and "\n" not in stated else (),
    )


def _parts(packages: Path, package: Distribution) -> Iterator[libraries.Part]:
    """Yield what lies inside of an installed wheel."""
    name = _name(package.name).replace("-", "_")
    yield from libraries.listed(packages / f"{name}-{package.version}.dist-info")
    yield from libraries.bundled(packages / f"{name}.libs")


def _of_part(part: libraries.Part) -> Component:
    return Component(name=part.name, version=part.version, bom_ref=str(part.purl), purl=part.purl, cpe=part.cpe)


def _of_debian(image: Path) -> Iterator[Component]:
    """Yield the packages that dev/image/root.py recorded, with Python itself unless python.org's was taken."""
    release = (image / "etc/debian_version").read_text().partition(".")[0].strip()
    for file in sorted((image / "var/lib/dpkg/status.d").iterdir()):
        fields = Parser().parsestr(file.read_text())
        name, version = fields["Package"], fields["Version"]
        qualifiers = {"arch": fields["Architecture"], "distro": f"{_DISTRIBUTION}-{release}"}
        purl = PackageURL("deb", _DISTRIBUTION, name, version, qualifiers)
        yield Component(name=name, version=version, bom_ref=str(purl), purl=purl)
