"""Ask a server over HTTP whether it is ready."""

from __future__ import annotations

import http.client
import ssl

from .components import Component

PROBE_TIMEOUT = 2.0


def probe(component: Component, *, tls: ssl.SSLContext) -> str | None:
    """None when the component says that it is ready, else what it said. `tls` knows its authority and who asks."""
    connection: http.client.HTTPConnection
    if component.tls:
        connection = http.client.HTTPSConnection(component.host, component.port, timeout=PROBE_TIMEOUT, context=tls)
    else:
        connection = http.client.HTTPConnection(component.host, component.port, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", component.ready_path)
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"GET {component.ready_path} on port {component.port}: {error}"
    finally:
        connection.close()
    if response.status == http.HTTPStatus.OK and component.ready_text in body:
        return None
    return f"GET {component.ready_path} on port {component.port}: {response.status} {body}"
