#!/bin/sh
# Trains a rival for so many seconds in an environment of its own, and draws its samples.
#
#   research/rivals/run.sh NAME SECONDS OUT [options of the script]
#   research/rivals/run.sh azula_karras 1500 runs/rivals/azula_karras
#
# The environment is .rivals/NAME, made once from requirements/NAME.txt with PyTorch's CPU build:
# from pip's own places if they hold one, otherwise from $TORCH_INDEX. $PYTHON makes it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
names=$(ls "$here/requirements" | sed 's/\.txt$//' | tr '\n' ' ')
if [ $# -lt 3 ] || [ ! -f "$here/requirements/$1.txt" ]; then
    echo "Usage: $0 NAME SECONDS OUT [options]; NAME is one of: $names" >&2
    exit 2
fi
name=$1 seconds=$2 out=$3
shift 3

wanted=$here/requirements/$name.txt
place=$root/.rivals/$name
if ! cmp -s "$wanted" "$place/installed.txt"; then
    echo "Making $place ..."
    rm -rf "$place"
    "${PYTHON:-python3}" -m venv "$place"
    pip="$place/bin/python -m pip --quiet --disable-pip-version-check install --no-deps"
    torch=$(grep '^torch==' "$wanted")
    $pip --no-index "$torch" 2>/dev/null ||
        $pip --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" "$torch"
    $pip --requirement "$wanted"
    cp "$wanted" "$place/installed.txt"
fi
exec "$place/bin/python" "$here/$name.py" --seconds="$seconds" --out="$out" "$@"
