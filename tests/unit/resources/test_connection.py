"""Ways to a server: URL, kubeconfig, Pod; and what is refused on the way."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.credentials import Credential, ExecCredentials, ExecPlugin, TokenFile
from mahavishnu_operator.resources.kubeconfig import default_files, read_context, write_kubeconfig
from mahavishnu_operator.resources.protocol import Forbidden
from mahavishnu_operator.support.errors import InvalidInput

V1 = "client.authentication.k8s.io/v1"


def config(
    path: Path, *, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, name: str = "a"
) -> Path:
    document = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example/", **(cluster or {})}}],
        "users": [{"name": name, "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.write_text(json.dumps(document))
    return path


def test_a_url_is_a_server() -> None:
    connection = Connection.from_url("http://127.0.0.1:8680/", token="t")
    assert (connection.server, connection.token) == ("http://127.0.0.1:8680", "t")


@pytest.mark.parametrize("url", ["127.0.0.1:8680", "ftp://x", "http://", "http://x?y=z", "http://me:pw@x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        Connection.from_url(url)


def test_secrets_are_not_shown() -> None:
    connection = Connection("https://x", token="s3cret", client_key=b"s3cret", ca_data=b"s3cret")
    assert "s3cret" not in repr(connection)
    assert "s3cret" not in repr(Credential("s3cret", b"s3cret", b"s3cret"))


def test_certificates_come_inline_or_from_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("key")
    inline = base64.b64encode(b"cert").decode()
    path = config(tmp_path / "config", user={"client-certificate-data": inline, "client-key": "key.pem"})
    connection = Connection.from_kubeconfig(path)
    assert (connection.client_cert, connection.client_key) == (b"cert", b"key")
    assert connection.server == "https://a.example"


def test_a_context_can_be_named(tmp_path: Path) -> None:
    first, second = config(tmp_path / "1"), config(tmp_path / "2", name="b")
    assert read_context([first, second]).context == "a"
    assert read_context([first, second, tmp_path / "absent"], "b").cluster["server"] == "https://b.example/"
    with pytest.raises(InvalidInput, match="no context 'c'"):
        read_context([first, second], "c")


@pytest.mark.parametrize(
    ("user", "cluster", "word"),
    [
        ({}, {"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify"),
        ({}, {"proxy-url": "http://p"}, "proxy-url"),
        ({"username": "u", "password": "p"}, {}, "username, password"),
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider"),
        ({"as": "root"}, {}, "as"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], word: str
) -> None:
    path = config(tmp_path / "config", user=user, cluster=cluster)
    with pytest.raises(InvalidInput, match=f"uses {word}"):
        Connection.from_kubeconfig(path)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "contexts: []"])
def test_a_broken_kubeconfig_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(InvalidInput, match=str(tmp_path / "config")):
        Connection.from_kubeconfig(tmp_path / "config")


def test_kubectls_files_are_ours() -> None:
    assert default_files({"KUBECONFIG": "/a:/b"}) == [Path("/a"), Path("/b")]
    assert default_files({}) == [Path.home() / ".kube" / "config"]


def test_a_written_kubeconfig_is_private_and_readable_by_us(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config"
    path.parent.mkdir()
    path.touch(mode=0o644)
    write_kubeconfig(path, server="http://127.0.0.1:1", token="t")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Connection.from_kubeconfig(path) == Connection.from_url("http://127.0.0.1:1", token="t")
    assert os.listdir(path.parent) == ["config"]


def test_a_pod_without_its_account_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="this is no Pod"):
        Connection.in_cluster(tmp_path, {})
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(InvalidInput, match=r"ca\.crt"):
        Connection.in_cluster(tmp_path, environ)
    (tmp_path / "ca.crt").write_text("pem")
    assert Connection.in_cluster(tmp_path, environ).server == "https://[fd00::1]:443"


def test_certificates_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be used"):
        Connection("https://x", ca_data=b"no certificate").ssl_context(Credential())


async def test_a_token_file_is_read_again_when_its_token_was_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    tokens = TokenFile(tmp_path / "token")
    assert (await tokens.current()).token == "one"
    (tmp_path / "token").write_text("two\n")
    assert (await tokens.current()).token == "one"
    tokens.forget()
    assert (await tokens.current()).token == "two"
    (tmp_path / "token").unlink()
    tokens.forget()
    with pytest.raises(Forbidden, match="cannot read the token"):
        await tokens.current()


def plugin(script: str, **fields: Any) -> ExecPlugin:
    return ExecPlugin(sys.executable, ("-c", script), **fields)


PRINT = """
import json, os, sys
with open(os.environ["COUNT"], "a") as file: file.write("x")
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
status = {"token": info["apiVersion"]}
if len(sys.argv) > 1: status["expirationTimestamp"] = sys.argv[1]
print(json.dumps({"kind": "ExecCredential", "apiVersion": info["apiVersion"], "status": status}))
"""


@pytest.mark.parametrize(("expiry", "runs"), [([], 1), (["2000-01-01T00:00:00Z"], 2), (["2999-01-01T00:00:00Z"], 1)])
async def test_a_plugin_runs_again_only_when_its_credential_is_due(
    tmp_path: Path, expiry: list[str], runs: int
) -> None:
    count = tmp_path / "count"
    which = ExecPlugin(sys.executable, ("-c", PRINT, *expiry), env=(("COUNT", str(count)),))
    credentials = ExecCredentials(which)
    assert (await credentials.current()).token == V1
    assert (await credentials.current()).token == V1
    assert len(count.read_text()) == runs


@pytest.mark.parametrize(
    ("which", "words"),
    [
        (plugin("import sys; sys.exit('please log in')"), "please log in"),
        (plugin("print('hello')"), "printed no ExecCredential"),
        (plugin("print('{\"status\": {}}')"), "neither a token nor a certificate"),
        (ExecPlugin("./nowhere/to-be-found", install_hint="install it"), "install it"),
    ],
)
async def test_a_plugin_that_fails_is_named_with_its_words(which: ExecPlugin, words: str) -> None:
    with pytest.raises(Forbidden, match=words):
        await ExecCredentials(which).current()


async def test_a_plugin_that_hangs_is_ended() -> None:
    hanging = ExecCredentials(plugin("import time; time.sleep(60)"), timeout=0.2)
    with pytest.raises(Forbidden, match=r"no answer in 0\.2 s"):
        await hanging.current()


def test_a_plugin_is_read_from_a_kubeconfig(tmp_path: Path) -> None:
    entry = {"apiVersion": V1, "command": "./get-token", "args": ["-x"], "env": [{"name": "A", "value": "b"}]}
    entry |= {"interactiveMode": "IfAvailable", "provideClusterInfo": True}  # type: ignore[dict-item]
    found = Connection.from_kubeconfig(config(tmp_path / "config", user={"exec": entry})).exec_plugin
    assert found is not None
    assert (Path(found.command), found.args, found.env) == (tmp_path / "get-token", ("-x",), (("A", "b"),))
    assert json.loads(found.cluster_info) == {"server": "https://a.example/"}


def test_a_plugin_that_must_ask_a_person_is_refused(tmp_path: Path) -> None:
    entry = {"apiVersion": V1, "command": "login", "interactiveMode": "Always"}
    with pytest.raises(InvalidInput, match="talk to a person"):
        Connection.from_kubeconfig(config(tmp_path / "config", user={"exec": entry}))
