"""Completes the SBOM of the serving image with Debian's packages, and checks it (make sbom).

python deploy/sbom.py SBOM IMAGE: the CycloneDX JSON that cyclonedx-py made of the locked set, and the image's name.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

LOCK = Path(__file__).parent.parent / "requirements" / "serve.txt"
LISTED = r"""dpkg-query -W -f '${binary:Package} ${Version} ${Architecture}\n'
. /etc/os-release; echo $ID-$VERSION_ID; python -V"""


def main(path, image):
    document = json.loads(Path(path).read_text())
    found, said = _of_image(image)
    document["components"] += found
    document.setdefault("metadata", {})["component"] |= {"type": "container"}
    if missing := _missing(document):
        sys.exit(f"the SBOM lacks {', '.join(missing)} of {LOCK.name}")
    text = json.dumps(document, indent=1) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"not CycloneDX 1.6: {error}")
    Path(path).write_text(text)
    print(f"{path}: CycloneDX 1.6, valid, {len(document['components'])} components; {said}")


def _of_image(image):
    """The components of the image besides the locked packages, and a sentence about them."""
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", LISTED]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return [], f"Debian's packages are NOT among them: there is no Docker engine here with the image {image}"
    *packages, release, python = lines
    found = [_debian(*line.split(), release) for line in packages]
    version = python.split()[1]
    found.append({"type": "application", "name": "python", "version": version, "bom-ref": "python",
                  "purl": f"pkg:generic/python@{version}"})  # fmt: skip
    return found, f"{len(packages)} of them Debian's in {image}"


def _debian(name, version, architecture, release):
    quoted = version.replace("+", "%2B").replace(":", "%3A")
    purl = f"pkg:deb/debian/{name.partition(':')[0]}@{quoted}?arch={architecture}&distro={release}"
    return {"type": "library", "name": name, "version": version, "bom-ref": purl, "purl": purl}


def _missing(document):
    """The locked packages, name==version, for this Python, that the document lacks."""
    names = {(_canonical(one["name"]), one.get("version")) for one in document["components"]}
    locked = [Requirement(line.rstrip(" \\")) for line in LOCK.read_text().splitlines() if re.match("[a-z]", line)]
    wanted = [(one.name, str(one.specifier)[2:]) for one in locked if not one.marker or one.marker.evaluate()]
    return [f"{name}=={version}" for name, version in wanted if (_canonical(name), version) not in names]


def _canonical(name):
    return re.sub("[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(*sys.argv[1:])
