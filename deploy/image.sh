#!/bin/sh
# Makes the image without a container engine: buildah in a change of root, on a base of debootstrap. As root.
#
#   deploy/image.sh build     localhost/justai:local and its simulator, and dist/justai.oci.tar to carry elsewhere
#   deploy/image.sh twice     builds all of it once more and compares: every layer must be the same
#   deploy/image.sh check     starts the programs from the built root, as an orchestrator would
#   deploy/image.sh clean     takes away everything that was kept
#
# BASE names a base of your own (any Debian with python3 >= 3.11 and its venv), in place of the one that is made here.
# Everything is kept below .cache/image: no other image of the machine, no network and no setting of it is touched.
set -eu
cd "$(dirname "$0")/.."
WORK=$PWD/.cache/image
SUITE=${SUITE:-bookworm}
BASE=${BASE:-}
PY=.venv/bin/python

say() { echo "image: $*"; }
bb() { buildah --root "$WORK/storage" --runroot "$WORK/run" --storage-driver overlay "$@"; }

# --- the base --------------------------------------------------------------------------------------------------------

make_base() {
    bb inspect --type image "localhost/base:$SUITE" >/dev/null 2>&1 && return
    say "making a base of $SUITE …"
    rm -rf "$WORK/base"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,tzdata,netbase \
        "$SUITE" "$WORK/base" ${MIRROR:+"$MIRROR"} >"$WORK/debootstrap.log" 2>&1 || { tail -n 20 "$WORK/debootstrap.log"; exit 1; }
    forget_when_and_where "$WORK/base"
    container=$(bb from scratch)
    cp -a "$WORK/base/." "$(bb mount "$container")/"
    rm -rf "$WORK/base"
    bb commit --quiet --timestamp 0 --rm "$container" "localhost/base:$SUITE" >/dev/null
}

# This machine's names, today's date, caches, and what nobody reads in a container. Licences stay.
forget_when_and_where() {
    (
        cd "$1"
        rm -rf dev/* proc/* sys/* run/* tmp/* var/tmp/* var/log/* var/cache/apt/* var/cache/ldconfig/* var/lib/apt/lists/* \
            var/cache/debconf/*-old var/lib/dpkg/*-old etc/*- etc/hostname etc/resolv.conf etc/machine-id usr/share/man/* \
            usr/share/info/* usr/share/locale/* usr/share/lintian
        find usr/share/doc ! -name copyright -type f -delete
        find usr/share/doc -type l -delete
        find usr/share/doc -depth -type d -empty -delete
        find usr/lib/python3* -depth -name __pycache__ -exec rm -rf {} +
        sed -i 's/^\([^:]*:[^:]*:\)[0-9]*:/\1:/' etc/shadow
    )
}

# --- the image -------------------------------------------------------------------------------------------------------

# Packages as this machine's pip finds them (its index, its folders), for a base of the same Python; another one asks by
# itself. Each is checked against its digest in either case.
gather_wheels() {
    mkdir -p "$WORK/wheels"
    : >"$WORK/pip.conf"
    [ -n "$BASE" ] && return
    say "gathering the packages …"
    sed -n '/^packaging==/,/^[^ ]/{/^packaging==/p;/^ /p}' requirements/dev.txt >"$WORK/tool.txt"
    for lock in requirements/runtime.txt requirements/simulator.txt "$WORK/tool.txt"; do
        stamp=$WORK/wheels/.$(sha256sum <"$lock" | cut -c1-16)
        [ -e "$stamp" ] && continue
        "$PY" -m pip download -qq --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
            --requirement "$lock" --dest "$WORK/wheels"
        touch "$stamp"
    done
    printf '[install]\nno-index = true\nfind-links = /wheels\n' >"$WORK/pip.conf"
}

make_assets() {
    container=$(bb from scratch)
    bb copy --quiet "$container" services/console/static/vendor /vendor >/dev/null
    bb commit --quiet --timestamp 0 --rm "$container" localhost/justai-assets:local >/dev/null
}

# build_target TARGET IMAGE [FLAG…]
build_target() {
    target=$1 image=$2
    shift 2
    bb bud --quiet --isolation chroot --network host --layers --timestamp 0 "$@" \
        --build-arg "BASE=${BASE:-localhost/base:$SUITE}" --build-arg ASSETS=localhost/justai-assets:local \
        --secret "id=pip,src=$WORK/pip.conf" --volume "$WORK/wheels:/wheels:ro" \
        --target "$target" --tag "$image" --file deploy/Dockerfile . >"$WORK/$target.log" 2>&1 \
        || { tail -n 30 "$WORK/$target.log"; exit 1; }
    bb rm --all >/dev/null 2>&1 || :
}

layers() { bb inspect --type image --format '{{range .OCIv1.RootFS.DiffIDs}}{{println .}}{{end}}' "$1" | sed '/^$/d'; }

build() {
    began=$(date +%s)
    mkdir -p "$WORK" dist
    [ -n "$BASE" ] || make_base
    gather_wheels
    make_assets
    say "building …"
    build_target services localhost/justai:local
    build_target simulator localhost/justai-simulator:local
    rm -f dist/justai.oci.tar
    bb push --quiet localhost/justai:local oci-archive:dist/justai.oci.tar:justai:local
    for name in justai justai-simulator; do
        say "localhost/$name:local $(bb images --format '{{.Size}}' "localhost/$name:local")," \
            "layers on the base: $(($(layers "localhost/$name:local" | wc -l) - 1))"
    done
    say "dist/justai.oci.tar $(($(stat -c %s dist/justai.oci.tar) / 1000000)) MB, ready after $(($(date +%s) - began)) s"
}

twice() {
    say "building once more, from nothing …"
    differ=0
    for target in services simulator; do
        name=justai
        [ "$target" = services ] || name=justai-simulator
        layers "localhost/$name:local" >"$WORK/first"
        build_target "$target" "localhost/$name:again" --no-cache
        layers "localhost/$name:again" >"$WORK/second"
        if cmp -s "$WORK/first" "$WORK/second"; then
            say "$name: all $(wc -l <"$WORK/first") layers are the same bytes"
        else
            differ=1
            say "$name: these layers differ"
            diff "$WORK/first" "$WORK/second" || :
        fi
        bb rmi "localhost/$name:again" >/dev/null
    done
    return $differ
}

check() {
    container=$(bb from --pull-never localhost/justai:local)
    trap 'bb umount "$container" >/dev/null; bb rm "$container" >/dev/null' EXIT
    "$PY" -m deploy.image_check "$(bb mount "$container")"
}

clean() {
    if [ -d "$WORK/storage" ] && command -v buildah >/dev/null 2>&1; then
        bb umount --all >/dev/null 2>&1 || :
        bb rm --all >/dev/null 2>&1 || :
    fi
    # What a build that was killed has left mounted, the innermost first.
    for place in $(awk -v under="$WORK/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r); do
        umount "$place" || :
    done
    if grep -q " $WORK/" /proc/mounts; then
        echo "image: something below $WORK is still mounted: it stays" >&2
        exit 1
    fi
    rm -rf "$WORK"
}

[ "$(id -u)" -eq 0 ] || { echo "image: a change of root takes root" >&2; exit 1; }
case "${1:-}" in
    build | twice | check | clean) "$1" ;;
    *) echo "usage: $0 build|twice|check|clean" >&2; exit 1 ;;
esac
