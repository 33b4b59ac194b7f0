#!/bin/sh
# Makes what deploy/compose.yaml takes from files: passwords of the servers that come with it, and the keys of ours.
# A file that is there already is left as it is, so it may be run again. How each is changed: docs/runbooks/rotate-keys.md and
# rotate-passwords.md.
#
#   deploy/make-secrets.sh [FOLDER]     default: deploy/secrets
#
# The folder is its owner's alone. The files in it can be read by all, for each container has a user of its own.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"
mkdir -p "$folder/justai" "$folder/servers" "$folder/drop/keys" "$folder/simulator"
chmod 755 "$folder"/*/ "$folder/drop/keys"

random() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }

# Whole or not at all: a file that was begun under its name would be kept.
put() {
    [ -e "$folder/$1" ] && return
    printf '%s\n' "$2" > "$folder/$1.new"
    chmod 644 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1"
}

# pair FILE MODE: a pair of keys of SSH, FILE and FILE.pub.
pair() {
    [ -e "$folder/$1" ] && return
    command -v ssh-keygen >/dev/null || { echo "make-secrets: ssh-keygen is missing (package openssh-client)" >&2; exit 1; }
    rm -f "$folder/$1.new" "$folder/$1.new.pub"
    ssh-keygen -q -t ed25519 -N '' -C "justai $1" -f "$folder/$1.new"
    chmod "$2" "$folder/$1.new"
    chmod 644 "$folder/$1.new.pub"
    mv "$folder/$1.new.pub" "$folder/$1.pub"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1"
}

# A password stands in two files: with the server, and in the address that ours call it by. What is there already counts.
put servers/postgres_password "$(random 24)"
put justai/justai_database_url "postgresql://justai:$(cat "$folder/servers/postgres_password")@postgres:5432/justai"
put servers/rabbitmq.conf "default_user = justai
default_pass = $(random 24)"
put justai/justai_amqp_url "amqp://justai:$(sed -n 's/^default_pass = //p' "$folder/servers/rabbitmq.conf")@rabbitmq:5672/"
put servers/s3.json "{\"identities\": [{\"name\": \"justai\", \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\"],
  \"credentials\": [{\"accessKey\": \"justai\", \"secretKey\": \"$(random 24)\"}]}]}"
put servers/grafana_password "$(random 12)"
put justai/seal-ring "k1:$(key)"
pair drop/host_key 644  # sshd gets a copy of its own there, and refuses one of which it is not the only reader elsewhere
pair simulator/host_key 600
pair simulator/client_key 600
put justai/justai_api_key_peppers "1:$(key)"
