# Read by each `run`: finds sandrun and a Python that has it, and makes a directory to work in, `work`, gone at the end.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
if [ -x "$root/.venv/bin/sandrun" ]; then PATH=$root/.venv/bin:$PATH; fi
if ! command -v sandrun >/dev/null || ! python3 -c 'import sandrun' 2>/dev/null; then
    echo "sandrun is not installed: run make setup in $root, or pip install . in a virtual environment" >&2
    exit 1
fi
export PATH PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
