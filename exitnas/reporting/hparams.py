"""The settings of a run for TensorBoard's HPARAMS board, in the run itself and not in a run of their own.

The board takes its columns from one run it picks, so every run brings the same ones: all settings of searches and of
retraining, and the final metrics of both. A setting that a run does not have stays empty.
"""

import json
from time import time
from typing import Any, get_args

#: Final metrics: scores on dev and test, and the sums over exits of parameters and of MACs for a row of mean length.
FINAL = ("dev_avg", "dev_best", "test_avg", "test_best", "exit_parameters", "exit_macs")
#: Settings that the board shows at first, before the others are ticked (it takes those said to differ between runs).
_SHOWN = ("command", "epochs", "exit_lr", "objective", "seed", "task")
_LEFT_OUT = ("data_dir", "offline")


def session_start(settings: dict[str, Any]) -> list[Any]:
    """The summaries that open a session: the board's columns, and this run's values.

    Args:
        settings: name -> value; None is left out, a list or dictionary is shown as JSON.
    """
    from tensorboard.plugins.hparams.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName
    from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG, SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    columns = [
        HParamInfo(name=name, type=DataType.Value(f"DATA_TYPE_{kind}"), differs=name in _SHOWN)
        for name, kind in _columns().items()
    ]
    metrics = [MetricInfo(name=MetricName(tag=f"final/{name}"), display_name=name) for name in FINAL]
    start = SessionStartInfo(start_time_secs=time())
    for name, value in settings.items():
        if value is None or name in _LEFT_OUT:
            continue
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = value if isinstance(value, str) else json.dumps(value)
    experiment = HParamsPluginData(experiment=Experiment(hparam_infos=columns, metric_infos=metrics))
    return [
        _summary(EXPERIMENT_TAG, experiment),
        _summary(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
    ]


def session_end(*, failed: bool) -> Any:
    """The summary that closes a session."""
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS")
    end = SessionEndInfo(status=status, end_time_secs=time())
    return _summary(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _columns() -> dict[str, str]:
    """Every setting of searches and retraining -> its type on the board; `command` first."""
    from exitnas.settings import RetrainSettings, SearchSettings

    found = {"command": "STRING"}
    for model in (SearchSettings, RetrainSettings):
        for name, field in model.model_fields.items():
            kinds = get_args(field.annotation) or (field.annotation,)
            kind = "BOOL" if bool in kinds else "FLOAT64" if int in kinds or float in kinds else "STRING"
            found.setdefault(name, kind)
    return {name: kind for name, kind in found.items() if name not in _LEFT_OUT}


def _summary(tag: str, content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR, PLUGIN_DATA_VERSION, PLUGIN_NAME

    content.version = PLUGIN_DATA_VERSION
    plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=NULL_TENSOR)])
