"""Settings from the environment (MAHAVISHNU_*) and one YAML file; flags of a command win over both.

The file is $MAHAVISHNU_CONFIG, or config.yaml in the user's configuration folder
($XDG_CONFIG_HOME/mahavishnu, by default ~/.config/mahavishnu). An unknown key in it is an error: a
misspelt setting that is ignored is worse than none.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.json_text import Unreadable
from mahavishnu_operator.support.yaml_text import read_documents

MAX_FILE_BYTES = 1024 * 1024
MAX_CA_BYTES = 64 * 1024  # an environment variable of a Pod holds no more than twice that
DEFAULT_URL = "http://127.0.0.1:8680"


def config_file() -> Path:
    """Where the YAML file is looked for; it need not exist."""
    if explicit := os.environ.get("MAHAVISHNU_CONFIG"):
        return Path(explicit)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "mahavishnu" / "config.yaml"


def default_data_dir() -> Path:
    """Where `mahavishnu up` keeps its state: $XDG_STATE_HOME/mahavishnu, by default ~/.local/state/mahavishnu."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "mahavishnu"


def read_settings(file: Path) -> dict[str, Any]:
    """What the YAML file says; nothing when there is none. InvalidInput when it cannot be read."""
    try:
        with file.open("rb") as handle:
            data = handle.read(MAX_FILE_BYTES + 1)
        documents = read_documents(data.decode()) if len(data) <= MAX_FILE_BYTES else None
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, Unreadable, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or error
        raise InvalidInput(f"the settings in {file} cannot be read: {why}", hint="correct or remove the file") from None
    if documents is None:
        raise InvalidInput(f"the settings in {file} have over {MAX_FILE_BYTES} bytes", hint="is it the right file?")
    found = [each for each in documents if each is not None]
    if len(found) > 1 or not all(isinstance(each, dict) for each in found):
        raise InvalidInput(f"the settings in {file} are no mapping of names to values", hint="write NAME: VALUE lines")
    return dict(found[0]) if found else {}


class Settings(BaseSettings):
    """All settings; each field is also MAHAVISHNU_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="MAHAVISHNU_", extra="forbid", frozen=True)

    url: str = Field(DEFAULT_URL, description="Server that the client commands talk to.")
    token: str = Field("", description="Bearer token for that server, where it wants one.", repr=False)
    mcp_token: str = Field("", description="Bearer token that `mcp start` asks of those who call it.", repr=False)
    data_dir: Path = Field(default_factory=default_data_dir, description="Where `up` keeps its state.")
    store_url: str = Field(
        "", description="PostgreSQL database of the operator, postgresql://...; empty: SQLite in data_dir.", repr=False
    )
    blob_dir: Path | None = Field(None, description="With store_url: keep blobs as files there, not as rows.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    lease_seconds: float = Field(
        15.0, ge=1, le=300, description="How long a worker may be silent before its tasks are given to another."
    )
    git_ca: Path | None = Field(
        None, description="Certificates (PEM) that prove git servers to workers, instead of the machine's."
    )
    workers: int = Field(0, ge=0, le=256, description="Workers of a local scan; 0: one a processor.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the file; a .env in the working folder is never read."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, read_settings(config_file()))


def load_settings() -> Settings:
    """The settings in force. InvalidInput names every setting that cannot be used and where it came from."""
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(
            f"the settings cannot be used: {problems}",
            hint=f"correct the MAHAVISHNU_* variable or the file {config_file()}",
        ) from None


def git_authorities(settings: Settings) -> str:
    """The text of the certificates that prove git servers; empty: the machine's. InvalidInput: they cannot be used."""
    file = settings.git_ca
    if file is None:
        return ""
    try:
        text = file.read_text()
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"the certificates in {file} (MAHAVISHNU_GIT_CA) cannot be used: {error}", hint="give them as PEM text"
        ) from None
    if len(text) > MAX_CA_BYTES:
        raise InvalidInput(
            f"{file} (MAHAVISHNU_GIT_CA) has {len(text)} bytes; at most {MAX_CA_BYTES} reach workers",
            hint="name your own authorities alone",
        )
    return text
