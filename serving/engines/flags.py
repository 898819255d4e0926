"""The flags that all engines are started with, which are tensorflow_model_server's, and the files that ours name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

BATCHING: Final = Path(__file__).resolve().parents[1] / "config" / "batching.config"
MONITORING: Final = Path(__file__).resolve().parents[1] / "config" / "monitoring.config"


@dataclass(frozen=True)
class Flags:
    """What a server is to serve and where, in the terms of tensorflow_model_server's flags.

    Attributes:
        base_path: The directory with the versions.
        model_name: The name that requests give.
        rest_port: Port of the REST interface; 0 leaves it off.
        grpc_port: Port of the gRPC interface.
        batching: A BatchingParameters file. Defaults to none: every request is run by itself.
        monitoring: A MonitoringConfig file. Defaults to none: no metrics.
        extra: Further flags as they stand on the command line.
    """

    base_path: Path
    model_name: str = "fashion"
    rest_port: int = 8501
    grpc_port: int = 8500
    batching: Path | None = None
    monitoring: Path | None = None
    extra: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Returns the flags as every engine takes them, with absolute paths, which tensorflow_model_server asks for."""
        arguments = [
            f"--port={self.grpc_port}",
            f"--rest_api_port={self.rest_port}",
            f"--model_name={self.model_name}",
            f"--model_base_path={self.base_path.absolute()}",
        ]
        if self.batching:
            arguments += ["--enable_batching=true", f"--batching_parameters_file={self.batching.absolute()}"]
        if self.monitoring:
            arguments.append(f"--monitoring_config_file={self.monitoring.absolute()}")
        return [*arguments, *self.extra]
