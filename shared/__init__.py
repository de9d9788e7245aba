"""What the coordinator and the hospitals must agree on."""

import os

# MONAI imports MLflow wherever it is installed, and MLflow tells its makers so unless this is set
# by then. Each side imports this package before all that could import MONAI.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
