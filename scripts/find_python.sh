#!/bin/sh
# Print the first Python from 3.11 to 3.13 that can make virtual environments; PYTHON names another
# to use.
wanted='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
tried=
for name in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    if ! version=$("$name" -c 'import platform; print(platform.python_version())' 2>/dev/null); then
        tried="$tried, $name (not there)"
    elif ! "$name" -c "$wanted"; then
        tried="$tried, $name ($version)"
    elif ! "$name" -c 'import ensurepip, venv' 2>/dev/null; then
        tried="$tried, $name ($version, without venv: on Debian and Ubuntu install $(basename "$name")-venv)"
    else
        echo "$name"
        exit 0
    fi
done
echo "error: no Python from 3.11 to 3.13 that can make environments; tried: ${tried#, }; install one, or name it: make install PYTHON=/path/to/python3.12" >&2
exit 1
