#!/bin/sh
# Installs the Debian packages that are missing, and nothing else.
#
#   devstack/bootstrap.sh python    an interpreter >= 3.11 that can make a virtual environment; prints its path
#   devstack/bootstrap.sh checkers  promtool and caddy, out of their packages and without installing these
#   devstack/bootstrap.sh image     buildah and debootstrap, which make the image without a container engine
#   devstack/bootstrap.sh servers   RabbitMQ and OpenSSH, unless an environment URL or a container engine gives them
#   devstack/bootstrap.sh assets    node and npm, which fetch what the console's pages load; any on the PATH will do
#   devstack/bootstrap.sh browser   Chromium, for the tests of the console's pages
#   devstack/bootstrap.sh prometheus   Prometheus and promtool, for the pictures of the dashboards and the alerts' tests
#
# Needs root only when something is missing; otherwise it says the exact command and exits 1.
# PostgreSQL and the S3 server come with the locked Python packages.
set -eu

fail() {
    echo "bootstrap: $*" >&2
    exit 1
}

# --- what is there ---------------------------------------------------------------------------------------------------

suitable_python() {
    for name in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        found=$(command -v "$name") || continue
        if "$found" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$found"
            return 0
        fi
    done
    return 1
}

# The same order as devstack itself: environment URL, container, local process.
missing_servers() {
    if command -v docker >/dev/null 2>&1 && timeout 3 docker version >/dev/null 2>&1; then
        return 0
    fi
    [ -n "${JUSTAI_TEST_AMQP_URL:-}" ] || [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || echo rabbitmq-server
    [ -n "${JUSTAI_TEST_SFTP_URL:-}" ] || [ -x /usr/sbin/sshd ] || echo openssh-server
}

TOOLS=$(dirname "$0")/../.cache/tools

missing_image() {
    command -v buildah >/dev/null 2>&1 || echo buildah
    command -v debootstrap >/dev/null 2>&1 || echo debootstrap
}

download() {
    apt-get download -qq -o APT::Sandbox::User=root "$1" >&2
}

# One program of a package whose service nobody wants here. Without it a check is left out: it says so, and a strict run fails.
fetch() {
    program=$1 package=$2
    if command -v "$program" >/dev/null 2>&1 || [ -x "$TOOLS/$program" ]; then return 0; fi
    at=$(mktemp -d)
    echo "bootstrap: fetching $program" >&2
    # Where nothing was ever installed there may be no lists of packages yet.
    if (cd "$at" && { download "$package" || { apt-get update -qq >&2 && download "$package"; } } &&
        dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x "./usr/bin/$program"); then
        mkdir -p "$TOOLS"
        mv "$at/usr/bin/$program" "$TOOLS/$program"
    else
        echo "bootstrap: $program cannot be had here" >&2
    fi
    rm -rf "$at"
}

missing_assets() {
    command -v node >/dev/null 2>&1 || echo nodejs
    command -v npm >/dev/null 2>&1 || echo npm
}

missing_browser() {
    command -v chromium >/dev/null 2>&1 || echo chromium fonts-liberation fonts-inter
}

missing_prometheus() {
    command -v prometheus >/dev/null 2>&1 && command -v promtool >/dev/null 2>&1 || echo prometheus
}

# --- installing without opening a port -------------------------------------------------------------------------------

POLICY=/usr/sbin/policy-rc.d
SAVED=$POLICY.justai-saved
MARK="justai bootstrap: no service starts while its package is installed"

# Debian starts a service as soon as its package is there (RabbitMQ on *:5672, sshd on *:22, Prometheus on *:9090).
# invoke-rc.d asks policy-rc.d first, so ours says no for the length of the installation, and what was there comes back
# after it.
forbid_service_starts() {
    allow_service_starts # an earlier run may have been killed half-way
    [ ! -e "$POLICY" ] || mv "$POLICY" "$SAVED"
    printf '#!/bin/sh\n# %s\nexit 101\n' "$MARK" >"$POLICY"
    chmod 755 "$POLICY"
}

allow_service_starts() {
    if [ -e "$POLICY" ] && grep -q "$MARK" "$POLICY"; then rm -f "$POLICY"; fi
    if [ -e "$SAVED" ]; then mv "$SAVED" "$POLICY"; fi
}

enabled_units() {
    for unit in rabbitmq-server.service ssh.service epmd.service epmd.socket prometheus.service; do
        find /etc/systemd/system -path "*.wants/$unit" 2>/dev/null
    done
}

install_packages() {
    command -v apt-get >/dev/null || fail "please install by hand (this system has no apt-get): $*"
    if [ "$(id -u)" -ne 0 ]; then
        echo "bootstrap: these Debian packages are missing: $*" >&2
        echo "bootstrap: run this once, then start again:" >&2
        echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $*" >&2
        echo "bootstrap: or, without leaving their services enabled:  sudo $0 $TASK" >&2
        exit 1
    fi
    before=$(mktemp)
    enabled_units >"$before"
    trap 'allow_service_starts; rm -f "$before"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    forbid_service_starts
    echo "bootstrap: installing $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q -o DPkg::Lock::Timeout=300 >&2
    apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >&2
    # Not started now must also mean not started at the next boot: we want the programs, not the services.
    # A service that was enabled before we came stays so.
    enabled_units | grep -vxF -f "$before" | while read -r link; do
        unit=$(basename "$link")
        echo "bootstrap: $unit will not start at boot" >&2
        rm -f "$link"
        update-rc.d "${unit%.*}" disable >/dev/null 2>&1 || true # SysV links, where the package has them
    done
}

# --- the tasks -------------------------------------------------------------------------------------------------------

TASK=${1:-}
case "$TASK" in
    python)
        suitable_python || {
            install_packages python3 python3-venv
            suitable_python || fail "Python >= 3.11 with venv is needed; this system's python3 is $(python3 -V 2>&1)"
        }
        ;;
    checkers)
        fetch promtool prometheus
        fetch caddy caddy
        ;;
    image)
        missing=$(missing_image)
        # shellcheck disable=SC2086 # package names, one word each
        [ -z "$missing" ] || install_packages $missing
        ;;
    servers)
        missing=$(missing_servers)
        # shellcheck disable=SC2086 # package names, one word each
        [ -z "$missing" ] || install_packages $missing
        ;;
    assets)
        missing=$(missing_assets)
        # shellcheck disable=SC2086 # package names, one word each
        [ -z "$missing" ] || install_packages $missing
        ;;
    browser)
        missing=$(missing_browser)
        # shellcheck disable=SC2086 # package names, one word each
        [ -z "$missing" ] || install_packages $missing
        ;;
    prometheus)
        missing=$(missing_prometheus)
        # shellcheck disable=SC2086 # package names, one word each
        [ -z "$missing" ] || install_packages $missing
        ;;
    *)
        fail "usage: $0 python|servers|assets|browser|prometheus"
        ;;
esac
