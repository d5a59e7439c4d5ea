"""Write the manifests of deploy/, for `kubectl apply -k`, from the chart: `render_manifests.py --helm HELM FOLDER`.

The pressure: two installations that are kept by hand drift, and the one that is used less is the one that is wrong. So
deploy/X.yaml is the chart's templates/X.yaml as helm renders it, without what only helm understands. What must stay
true: no secret is in them, so the certificate is a Secret that whoever installs brings; nothing of another version of
helm or of the clock is in them, so that a test can compare.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "mahavishnu-operator"
RELEASE, NAMESPACE = "mahavishnu-operator", "mahavishnu-system"
VALUES = ("crds.install=false", f"tls.existingSecret={RELEASE}-tls")
GATEWAY = ("gateway.enabled=true", f"gateway.tls.existingSecret={RELEASE}-gateway-tls")
KUBERNETES = "1.35.0"  # to render for, where there is no server to ask: a helm that is built from source thinks of 1.20
HEADER = "# From the chart (make manifests): do not edit.\n"
ROLE_HEADER = (
    "# From the chart (make manifests): do not edit. Once for each namespace NS that an operator with --namespace NS\n"
    "# watches, beside rbac.yaml of this folder instead of that of the one above: kubectl apply -n NS -f role.yaml\n"
)
SOURCE = re.compile(r"^# Source: [^/]+/templates/(?P<file>\S+)\n", re.MULTILINE)
HELMS_OWN = re.compile(r"^ *(helm\.sh/\S+:.*|app\.kubernetes\.io/managed-by: Helm)\n", re.MULTILINE)
EMPTY_ANNOTATIONS = re.compile(r"^ *annotations:\n(?=\S)", re.MULTILINE)
# Stands for the namespace of a role, which is whatever `kubectl apply -n` says.
ANY_NAMESPACE = "namespace-of-the-role"


def main() -> int:
    """Write the files; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--helm", required=True, type=Path, help="the helm to run")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    for name, text in manifests(options.helm).items():
        file = options.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return 0


def manifests(helm: Path) -> dict[str, str]:
    """Path below deploy/ and text of every manifest. CalledProcessError: helm refused the chart."""
    everywhere = dict(_render(helm, *VALUES))
    some = dict(_render(helm, *VALUES, f"watchNamespaces={{{ANY_NAMESPACE}}}"))
    gateway = dict(_render(helm, *VALUES, *GATEWAY))
    documents = some["rbac.yaml"].split("---\n")
    roles = [each for each in documents if ANY_NAMESPACE in each]
    return {
        **{name: HEADER + text for name, text in everywhere.items()},
        **{f"gateway/{name}": HEADER + text for name, text in gateway.items() if name not in everywhere},
        "namespaced/rbac.yaml": HEADER + "---\n".join(each for each in documents if each not in roles),
        "namespaced/role.yaml": ROLE_HEADER + "---\n".join(roles).replace(f"  namespace: {ANY_NAMESPACE}\n", ""),
    }


def _render(helm: Path, *values: str) -> Iterator[tuple[str, str]]:
    """The name of each template that gives something, and what it gives."""
    sets = [part for value in values for part in ("--set", value)]
    command = [str(helm), "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES]
    rendered = subprocess.run([*command, "--skip-tests", *sets], check=True, stdout=subprocess.PIPE, text=True).stdout
    files: dict[str, list[str]] = {}
    for document in re.split(r"^---\n", rendered, flags=re.MULTILINE):
        if source := SOURCE.search(document):
            text = HELMS_OWN.sub("", SOURCE.sub("", document))
            files.setdefault(source["file"], []).append(EMPTY_ANNOTATIONS.sub("", text).strip() + "\n")
    for name in sorted(files):
        yield name, "---\n".join(files[name])


if __name__ == "__main__":
    raise SystemExit(main())
