#!/bin/sh
# AzureML mounts the model below AZUREML_MODEL_DIR, in a folder of its own: the repository is the folder that holds models.
set -eu
repository=${AZUREML_MODEL_DIR:-/models}
if ! ls "$repository"/*/config.pbtxt >/dev/null 2>&1; then
  for folder in "$repository"/*; do
    if ls "$folder"/*/config.pbtxt >/dev/null 2>&1; then
      repository=$folder
      break
    fi
  done
fi
# shellcheck disable=SC2086 # the flags are words
exec tritonserver --model-repository="$repository" ${TRITON_FLAGS:-}
