#!/bin/sh
# Starts sshd for the orgs that have a login, and keeps the logins as the folder of keys says: a file there named like an
# org's slug, in the form of authorized_keys, is a login; without the file there is none. All of them are one system
# user, the one that the ingest service runs as, so that it may read what they put; what keeps them apart is that each is
# shut into its own folder. A login goes away while its folder holds too much: a full disk would be everybody's trouble.
set -eu
export LC_ALL=C
umask 022
keys=${DROP_KEYS:-/keys}             # read only; `justai source drop-key` writes it
root=${DROP_ROOT:-/drop}             # the volume: JUSTAI_INGEST_FOLDER_ROOT of the ingest service
host_key=${DROP_HOST_KEY:-/host_key}
port=${DROP_PORT:-2222}
run=${DROP_RUN:-/run/justai-drop}
every=${DROP_EVERY_S:-5}
most_mb=${DROP_MOST_MB:-20480}       # on disk, of one org
file_mb=${DROP_FILE_MB:-4096}        # of one file: the most that is read (JUSTAI_INGEST_MAX_FILE_BYTES)
uid=10001
config=$(dirname "$0")/sshd_config

said=
say_once() {
    case $said in *"|$1|"*) return ;; esac
    said="$said|$1|"
    echo "$1" >&2
}

# As the user of all logins: as root we have no right to read what they hide, nor to end what they run.
as_them() { setpriv --reuid="$uid" --regid="$uid" --clear-groups "$@"; }

# Whether a process comes from this server: the shell becomes sshd, so $$ is its number.
is_ours() {
    process=$1
    until [ "$process" = "$$" ]; do
        [ "$process" -gt 1 ] || return 1
        process=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$process/status" 2> /dev/null) || return 1
        [ -n "$process" ] || return 1
    done
}

# What a login has open ends with it: a session that has begun asks for no key any more. What sshd itself runs as root
# for one ends by itself then.
end_sessions() {
    for found in /proc/[0-9]*; do
        case $({ tr '\0' ' ' < "$found/cmdline"; } 2> /dev/null) in
            "sshd: $1"[@\ ]* | "sshd-session: $1"[@\ ]*)
                ! is_ours "${found#/proc/}" || as_them sh -c 'kill "$1"' sh "${found#/proc/}" 2> /dev/null || true ;;
        esac
    done
}

# Whether a folder holds more than is let, and what; one that hides something from its own user may hold anything.
holds_too_much() {
    mb=$(as_them du -sm "$1" 2>&1 | sed -n -e 's/^du: .*Permission denied$/hidden/p' -e 's/^\([0-9]*\)\t.*/\1/p' \
        | uniq | sort -r | head -n 1)
    held="$mb MB"
    [ "$mb" != hidden ] || { held="what cannot be counted"; return 0; }
    [ "${mb:-0}" -gt "$most_mb" ]
}

# Beside the logins, not with them: to count very many files takes long, and a key that is gone must count at once.
look_for_room() {
    for folder in "$root"/*/in; do
        [ -d "$folder" ] || continue
        slug=${folder%/in}
        slug=${slug##*/}
        if holds_too_much "$folder"; then
            [ -e "$run/full/$slug" ] || echo "$slug has $held here, and $most_mb MB are let: no login until there is room"
            : > "$run/full/$slug"
            end_sessions "$slug"  # each time: one may have begun while its login went
        elif [ -e "$run/full/$slug" ]; then
            rm "$run/full/$slug"
            echo "$slug has $held here: there is room again"
        fi
    done
}

may_log_in() { [ -f "$keys/$1" ] && [ ! -e "$run/full/$1" ]; }

# A login is taken away in the moment its file is gone, and given before anybody can use it.
sync_logins() {
    for login in "$run/keys"/*; do
        [ -e "$login" ] || continue
        slug=${login##*/}
        may_log_in "$slug" || {
            rm -f "$login"
            sed -i.old "/^$slug:/d" "$run/passwd"
            end_sessions "$slug"
            echo "login of $slug is gone"
        }
    done
    for given in "$keys"/*; do
        [ -f "$given" ] || continue
        slug=${given##*/}
        case $slug in
            *[!a-z0-9_-]* | [!a-z0-9]*) say_once "$slug is no org's slug, so no login"; continue ;;
        esac
        if grep -q "^$slug:" "$run/system"; then
            say_once "$slug is a system user's name, so no login"
            continue
        fi
        may_log_in "$slug" || continue
        # Options that a file brings along count for nothing: each line is cut to its key, and restricted.
        sed -n -E 's/^.*((ssh-ed25519|ssh-rsa|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+\/=]+).*$/restrict \1/p' \
            "$given" > "$run/keys/.$slug.new"
        # sshd shuts a login in only where the folder is root's; what it may write is the one inside.
        if [ ! -d "$root/$slug/in" ]; then
            mkdir -p -m 755 "$root/$slug"
            mkdir -m 750 "$root/$slug/in"
            chown "$uid:$uid" "$root/$slug/in"
        fi
        grep -q "^$slug:" "$run/passwd" || echo "$slug:x:$uid:$uid::/:/usr/sbin/nologin" >> "$run/passwd"
        if cmp -s "$run/keys/.$slug.new" "$run/keys/$slug"; then
            rm -f "$run/keys/.$slug.new"
        else
            mv "$run/keys/.$slug.new" "$run/keys/$slug"
            echo "login of $slug has $(wc -l < "$run/keys/$slug") keys"
        fi
    done
}

# The image's /etc/passwd and /etc/group are links to these two, because the rest of it cannot be written.
mkdir -p "$run/keys" "$run/full" /run/sshd
chmod 755 /run "$run" "$run/keys"  # a /run in memory comes open to all, and sshd trusts no keys in such a place
{ echo "root:x:0:0::/root:/usr/sbin/nologin"; echo "sshd:x:74:74::/run/sshd:/usr/sbin/nologin"; } > "$run/system"
cp "$run/system" "$run/passwd"
{ echo "root:x:0:"; echo "sshd:x:74:"; echo "justai-drop:x:$uid:"; } > "$run/group"
install -m 600 "$host_key" "$run/host_key"
sync_logins
ulimit -f $((file_mb * 2048))  # blocks of 512 bytes
( while sleep "$every"; do sync_logins; done ) &
( while sleep "$every"; do look_for_room; done ) &
exec /usr/sbin/sshd -D -e -f "$config" -p "$port" -h "$run/host_key" -o "AuthorizedKeysFile=$run/keys/%u" \
    -o "ChrootDirectory=$root/%u"
