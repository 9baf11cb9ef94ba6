#!/usr/bin/env bash
# Installs the gateways that the speed benchmark compares with into bench/.peers (git-ignored).
#   bash bench/peers.sh                     all of them: litellm portkey tensorzero
#   bash bench/peers.sh tensorzero portkey  only these
# nginx and wrk are not installed from here: `apt install nginx-light wrk` where you want them.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p .peers
# An installation that broke off half way must not count as found: each peer is marked by a file
# `.peers/NAME.ok`, written last.

python_peer() { # NAME REQUIREMENT
    python3 -m venv ".peers/$1" &&
        ".peers/$1/bin/pip" install --quiet --disable-pip-version-check "$(grep -E "^$2" requirements-peers.txt)"
}

portkey() {
    if ! command -v npm >/dev/null; then
        echo "portkey: skipped, npm is not installed" >&2
        return 1
    fi
    mkdir -p .peers/portkey
    cp portkey-package.json .peers/portkey/package.json
    (cd .peers/portkey && npm install --no-audit --no-fund --loglevel=error)
}

install() {
    rm -f ".peers/$1.ok"
    case "$1" in
        litellm) python_peer litellm 'litellm' || return 1 ;;
        tensorzero) python_peer tensorzero 'tensorzero' || return 1 ;;
        portkey) portkey || return 1 ;;
        *) echo "unknown peer: $1 (litellm, portkey, tensorzero)" >&2; return 2 ;;
    esac
    touch ".peers/$1.ok"
    echo "$1: installed in bench/.peers/$1"
}

failed=0
for peer in "${@:-all}"; do
    if [ "$peer" = all ]; then
        for each in tensorzero portkey litellm; do install "$each" || failed=1; done
    else
        install "$peer" || failed=1
    fi
done
exit "$failed"
