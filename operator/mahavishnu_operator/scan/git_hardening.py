"""What git is told whenever it fetches: everything by us, nothing by files of the machine or of the repository.

The pressure: git can be made to run programs in a dozen ways (hooks, filters, helpers, transports, monitors), and reads
configuration from many places; two programs of ours fetch, a worker and a source Job, and what one of them forgot would
be a way in. What must stay true: both use this; the caller adds GIT_ALLOW_PROTOCOL with the one transport it means.
"""

from __future__ import annotations

from types import MappingProxyType

SETTINGS = (
    "advice.detachedHead=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.symlinks=true",
    "credential.helper=",
    "fetch.recurseSubmodules=false",
    "fetch.unpackLimit=1",  # what comes stays one pack, whose size is looked at
    "fetch.writeCommitGraph=false",
    "gc.auto=0",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=1000",  # bytes a second, for so long:
    "http.lowSpeedTime=60",
    "http.sslVerify=true",
    "init.defaultBranch=none",
    "maintenance.auto=false",
    "protocol.allow=never",
    "safe.directory=*",
    "submodule.recurse=false",
    "transfer.bundleURI=false",
    "transfer.credentialsInUrl=die",
)
ENVIRONMENT = MappingProxyType(
    {
        "GIT_ASKPASS": "false",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",  # its words are read
        "SSH_ASKPASS": "false",
    }
)
