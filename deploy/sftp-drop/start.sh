#!/bin/sh
# Starts sshd for the orgs that have a login, and keeps the logins as the folder of keys says: a file there named like an
# org's slug, in the form of authorized_keys, is a login; without the file there is none. All of them are one system
# user, the one that the ingest service runs as, so that it may read what they put; what keeps them apart is that each is
# shut into its own folder.
set -eu
umask 022
keys=${DROP_KEYS:-/keys}             # read only; `justai source drop-key` writes it
root=${DROP_ROOT:-/drop}             # the volume: JUSTAI_INGEST_FOLDER_ROOT of the ingest service
host_key=${DROP_HOST_KEY:-/host_key}
port=${DROP_PORT:-2222}
run=${DROP_RUN:-/run/justai-drop}
every=${DROP_EVERY_S:-5}
uid=10001
config=$(dirname "$0")/sshd_config

said=
say_once() {
    case $said in *"|$1|"*) return ;; esac
    said="$said|$1|"
    echo "$1" >&2
}

# A login is taken away in the moment its file is gone, and given before anybody can use it.
sync_logins() {
    for login in "$run/keys"/*; do
        [ -e "$login" ] || continue
        slug=${login##*/}
        [ -f "$keys/$slug" ] || { rm -f "$login"; sed -i.old "/^$slug:/d" "$run/passwd"; echo "login of $slug is gone"; }
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
mkdir -p "$run/keys" /run/sshd
chmod 755 /run "$run" "$run/keys"  # a /run in memory comes open to all, and sshd trusts no keys in such a place
{ echo "root:x:0:0::/root:/usr/sbin/nologin"; echo "sshd:x:74:74::/run/sshd:/usr/sbin/nologin"; } > "$run/system"
cp "$run/system" "$run/passwd"
{ echo "root:x:0:"; echo "sshd:x:74:"; echo "justai-drop:x:$uid:"; } > "$run/group"
install -m 600 "$host_key" "$run/host_key"
sync_logins
( while sleep "$every"; do sync_logins; done ) &
exec /usr/sbin/sshd -D -e -f "$config" -p "$port" -h "$run/host_key" -o "AuthorizedKeysFile=$run/keys/%u" \
    -o "ChrootDirectory=$root/%u"
