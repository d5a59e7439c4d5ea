"""People outside of the cluster, who have nothing but credentials for its API server, and what they read in reports."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.client import Cluster
from tests.integration.cli_tools import run

from .installing import Place
from .pods import WAIT, until

Found = list[tuple[str, str, int]]


@dataclass(frozen=True)
class Person:
    """Who runs `mahavishnu` with an account's credentials, in its namespace."""

    cluster: Cluster
    namespace: str

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A command with these credentials, to its end."""
        return run(*arguments, "--kubeconfig", self.cluster.kubeconfig, "-n", self.namespace, seconds=WAIT)

    def scan(self, tree: Path, tool: str, *, pool: str) -> subprocess.CompletedProcess[str]:
        """`mahavishnu scan --cluster` of a folder of this machine, which passes whatever is found."""
        return self.run("scan", tree, "--cluster", "--pool", pool, "--tool", tool, "--json", "--fail-on", "none")

    def report(self, job: str) -> Found:
        """What `mahavishnu report` tells of a ScanJob."""
        done = self.run("report", job, "--json")
        assert done.returncode == 0, done.stderr
        return found_in(done.stdout)


def made_person(place: Place, name: str) -> Person:
    """A new account that may edit in the pools' namespace, as the cluster's own role says."""
    place.kubectl("create", "serviceaccount", name)
    place.kubectl("create", "rolebinding", name, "--clusterrole=edit", f"--serviceaccount={place.team}:{name}")
    cluster = place.cluster.as_service_account(namespace=place.team, name=name)
    asked = ("auth", "can-i", "create", "scanjobs.mahavishnu.dev", "-n", place.team)
    until(lambda: "yes" if cluster.kubectl(*asked, check=False).returncode == 0 else None)  # roles are aggregated
    return Person(cluster, place.team)


def found_here(tree: Path, tool: str) -> Found:
    """What a scan of the folder on this machine finds."""
    done = run("scan", tree, "--tool", tool, "--json", "--fail-on", "none")
    assert done.returncode == 0, done.stderr
    return found_in(done.stdout)


def found_in(stdout: str) -> Found:
    """Rule, file and line of each finding that `--json` printed."""
    found = []
    for result in json.loads(stdout)["sarif"]["runs"][0]["results"]:
        place = result["locations"][0]["physicalLocation"]
        found.append((result["ruleId"], place["artifactLocation"]["uri"], place["region"]["startLine"]))
    return sorted(found)
