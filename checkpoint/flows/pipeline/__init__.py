"""Pipelines of stages: functions joined with `>>` and `<<`, each result kept, each stage skipped where it is loaded.

    pipeline = (read, settings) >> fit >> evaluate
    pipeline(Config(load=[read, fit]))

`stage.py` has what a user writes, `config.py` what a run is told, `running.py` how both become a run of the kernel.

Next: flows/pipeline/config.py
"""

from checkpoint.flows.pipeline.config import Config
from checkpoint.flows.pipeline.running import StagePlan
from checkpoint.flows.pipeline.stage import Pipeline, Stage

__all__ = ["Config", "Pipeline", "Stage", "StagePlan"]
