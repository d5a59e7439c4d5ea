"""The Secret of a private repository, as the kubelet mounts it, in the form that git takes.

The pressure: git wants credentials from a helper, ssh from files, and an argument or an environment variable is seen by
more than it is meant for. What must stay true: a password goes into one file of a private folder in memory and is given
to its own server alone; an ssh server whose key is not in known_hosts gets nothing; what is missing is said by name.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import quote, urlsplit

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.source_outcome import Failure
from mahavishnu_operator.scan.git_fetching import GitAccess, SourceFailed, transport_of

USERNAME, PASSWORD, CA = "username", "password", "ca.crt"
SSH_KEY, KNOWN_HOSTS = "ssh-privatekey", "known_hosts"
MAX_BYTES = 64 * 1024
_SSH_CONFIG = """\
BatchMode yes
StrictHostKeyChecking yes
UserKnownHostsFile {known_hosts}
GlobalKnownHostsFile /dev/null
UpdateHostKeys no
IdentityFile {key}
IdentitiesOnly yes
IdentityAgent none
PreferredAuthentications publickey
ForwardAgent no
ForwardX11 no
ClearAllForwardings yes
PermitLocalCommand no
ControlMaster no
ConnectTimeout 30
ServerAliveInterval 15
"""


def git_access(url: str, folder: Path | None, *, secret: str, scratch: Path, git_ca: str = "") -> GitAccess:
    """How git proves who it is. `folder`: the Secret's keys as files, None: there is none. SourceFailed.

    `scratch` is a private folder; `git_ca` proves https servers where the Secret names no authority.
    """
    transport = transport_of(url)
    if folder is None:
        if transport == "ssh":
            raise _missing(f"{url} is fetched by ssh, which needs spec.source.git.credentialsSecretRef")
        return GitAccess()
    if not folder.is_dir() or not any(name for name in os.listdir(folder) if not name.startswith("..")):
        raise _missing(f"there is no Secret {secret} in this namespace, or it is empty")
    return _by_ssh(folder, secret, scratch) if transport == "ssh" else _by_https(url, folder, secret, scratch, git_ca)


def _by_https(url: str, folder: Path, secret: str, scratch: Path, git_ca: str) -> GitAccess:
    password = _required(folder, PASSWORD, secret, what="https; make it of type kubernetes.io/basic-auth").strip("\r\n")
    username = (_read(folder, USERNAME) or "git").strip("\r\n")
    if not password or any(c in username + password for c in "\r\n\0"):
        raise _missing(f"Secret {secret}: username and password must be one line each, and not empty")
    host = urlsplit(url).netloc
    store = scratch / "credentials"
    _write(store, f"https://{quote(username, safe='')}:{quote(password, safe='')}@{host}\n")
    config = [f"credential.helper=store --file={shlex.quote(str(store))}"]
    if (folder / CA).is_file():
        config.append(f"http.sslCAInfo={folder / CA}")
    elif git_ca:
        authorities = scratch / "authorities"
        _write(authorities, git_ca)
        config.append(f"http.sslCAInfo={authorities}")
    return GitAccess(config=tuple(config), secrets=tuple({password, quote(password, safe="")}))


def _by_ssh(folder: Path, secret: str, scratch: Path) -> GitAccess:
    key = _required(folder, SSH_KEY, secret, what="ssh; make it of type kubernetes.io/ssh-auth")
    known = _required(folder, KNOWN_HOSTS, secret, what="ssh: lines of known_hosts, as `ssh-keyscan` prints them")
    own_key, own_known, config = scratch / "key", scratch / "known_hosts", scratch / "ssh_config"
    _write(own_key, key.rstrip("\n") + "\n")  # without its last line end OpenSSH does not read it
    _write(own_known, known)
    _write(config, _SSH_CONFIG.format(known_hosts=own_known, key=own_key))
    return GitAccess(environment={"GIT_SSH_COMMAND": f"ssh -F {shlex.quote(str(config))}", "GIT_SSH_VARIANT": "ssh"})


def _required(folder: Path, name: str, secret: str, *, what: str) -> str:
    text = _read(folder, name)
    if not text:
        raise _missing(f"Secret {secret} has no key {name!r}, which is needed for {what}")
    return text


def _read(folder: Path, name: str) -> str:
    try:
        with (folder / name).open("rb") as file:
            return file.read(MAX_BYTES).decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise _missing(f"key {name!r} of the Secret cannot be read: {type(error).__name__}") from None


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)


def _missing(message: str) -> SourceFailed:
    return SourceFailed(Reason.CREDENTIALS_MISSING, message, Failure.WAITS)
