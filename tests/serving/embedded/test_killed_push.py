"""Killed pushes: the server watches the base directory and never serves an incomplete version."""

from __future__ import annotations

from pathlib import Path

import grpc
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from serving.engines.server_process import ServerProcess
from serving.versions import push, versions
from tests.serving.embedded.conftest import Start
from tests.serving.embedded.test_server import PREDICT, ROW, Load, send
from tests.serving.test_versions import KILLED_AT, run


def poll_now(server: ServerProcess, base: Path) -> None:
    """Makes the server poll the directory, and returns when its versions are up to date."""
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name=server.model_name, base_path=str(base), model_platform="tensorflow"
    )
    with grpc.insecure_channel(server.grpc_address) as channel:
        model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=60)


def test_a_push_killed_at_any_step_is_never_served_incomplete(
    start: Start, small: Path, other: Path, tmp_path: Path
) -> None:
    """After SIGKILL at any step of a push or its pruning, the newest complete version serves, and no load fails."""
    base = tmp_path / "fashion"
    push(small, base)
    push(other, base)
    server = start(base)
    of_other = send(server, "POST", PREDICT, ROW)[1]
    killed: dict[int, int] = {}
    with Load(server, 2) as load:
        for step in range(1, 200):
            code = run(KILLED_AT, step, base, small)
            poll_now(server, base)
            newest = versions(base)[-1].number
            killed[newest] = killed.get(newest, 0) + (code != 0)
            document = send(server, "GET", "/v1/models/fashion")[1]["model_version_status"]
            assert [int(v["version"]) for v in document if v["state"] == "AVAILABLE"] == [newest]
            assert {v["status"]["error_code"] for v in document} == {"OK"}
            assert {int(v["version"]) for v in document} <= {2, 3}
            if code == 0:
                break
        of_small = send(server, "POST", PREDICT, ROW)[1]
    assert code == 0 and killed[2] > 10 and killed[3] > 0
    assert not load.errors, load.errors[:3]
    assert len(load.answers) == 2 and of_small != of_other
