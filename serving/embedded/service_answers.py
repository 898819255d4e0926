"""The answers about models that REST and gRPC give alike: the state of the versions, and what a version can do."""

from __future__ import annotations

from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

from serving.embedded.lifecycle import Lifecycle
from serving.embedded.servable import Servable


def status(lifecycle: Lifecycle, model: str, version: int | None, label: str | None) -> GetModelStatusResponse:
    """Returns the states of a model's versions, the newest first.

    Raises:
        ServingError: There is no such model, version or label.
    """
    response = GetModelStatusResponse()
    for each in lifecycle.statuses(model, version, label):
        item = response.model_version_status.add(version=each.number, state=int(each.state))
        item.status.SetInParent()
        if each.error:
            item.status.error_code = each.error.code.value[0]
            item.status.error_message = each.error.message
    return response


def metadata(servable: Servable) -> SignatureDefMap:
    """Returns the signatures of a version as its SavedModel describes them, none left out."""
    answer = SignatureDefMap()
    for name, definition in servable.signature_defs.items():
        answer.signature_def[name].CopyFrom(definition)
    return answer
