# Finds PostgreSQL (14 or newer) and Redis on this machine, or gets them from the system's packages.
# Sourced by `services`. Sets PG_BIN, PG_VERSION, REDIS_SERVER, REDIS_CLI; starts nothing.
# NEED_POSTGRES, NEED_REDIS and NEED_TEST_TOOLS (yes or empty) say what is wanted at all. The last are haproxy and pgbouncer,
# which stand in front of the processes and of PostgreSQL in some tests; nothing else wants them.
# shellcheck shell=bash disable=SC2034,SC2119,SC2120

PG_OLDEST=14
PG_BIN=
PG_VERSION=
REDIS_SERVER=
REDIS_CLI=
HAPROXY=
PGBOUNCER=
NEED_TEST_TOOLS=

# The major version of the server in directory $1, or nothing when tools are missing there.
pg_major() {
    local tool
    for tool in postgres initdb pg_ctl pg_isready psql; do
        [ -x "$1/$tool" ] || return 1
    done
    "$1/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p'
}

# Every place where a server may live, the user's own choice (PATH) first, then newest first.
pg_places() {
    local on_path
    if on_path=$(command -v postgres 2>/dev/null); then
        # Debian's PATH has at most a link into the real directory.
        dirname "$(readlink -f "$on_path" 2>/dev/null || printf %s "$on_path")"
    fi
    printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin |
        sed 's/.*[^0-9]\([0-9][0-9]*\)\/bin$/\1 &/' | sort -rn | sed 's/^[0-9]* //'
}

# find_postgres [MAJOR]: MAJOR when the data on disk was made by that version.
find_postgres() {
    local place major
    while IFS= read -r place; do
        major=$(pg_major "$place") || continue
        [ "${major:-0}" -ge "$PG_OLDEST" ] || continue
        [ -z "${1:-}" ] || [ "$major" = "$1" ] || continue
        PG_BIN=$place
        PG_VERSION=$major
        return 0
    done <<PLACES
$(pg_places)
PLACES
    return 1
}

find_redis() {
    local place
    for place in "$(command -v redis-server 2>/dev/null)" /usr/bin/redis-server \
        /opt/homebrew/bin/redis-server /usr/local/bin/redis-server; do
        if [ -x "$place" ] && [ -x "$(dirname "$place")/redis-cli" ]; then
            REDIS_SERVER=$place
            REDIS_CLI=$(dirname "$place")/redis-cli
            return 0
        fi
    done
    return 1
}

find_haproxy() {
    local place
    for place in "$(command -v haproxy 2>/dev/null)" /usr/sbin/haproxy \
        /opt/homebrew/bin/haproxy /usr/local/bin/haproxy; do
        if [ -x "$place" ]; then
            HAPROXY=$place
            return 0
        fi
    done
    return 1
}

find_pgbouncer() {
    local place
    for place in "$(command -v pgbouncer 2>/dev/null)" /usr/sbin/pgbouncer \
        /opt/homebrew/bin/pgbouncer /usr/local/bin/pgbouncer; do
        if [ -x "$place" ]; then
            PGBOUNCER=$place
            return 0
        fi
    done
    return 1
}

redis_version() { "$REDIS_SERVER" --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p'; }

# The Debian packages still needed; nothing when all is there.
missing_packages() {
    [ -z "$NEED_POSTGRES" ] || find_postgres || printf 'postgresql '
    [ -z "$NEED_REDIS" ] || find_redis || printf 'redis-server '
    missing_test_tools
}

missing_test_tools() {
    [ -n "$NEED_TEST_TOOLS" ] || return 0
    find_haproxy || printf 'haproxy '
    find_pgbouncer || printf 'pgbouncer '
}

# ensure_found: finds all, or installs them when it may, or says the line to type. Without what only tests want it goes on:
# then the tests that want it fail, and all others run.
ensure_found() {
    local missing
    missing=$(missing_test_tools)
    if [ -n "$missing" ] && [ "$(missing_packages)" = "$missing" ]; then
        (NEED_POSTGRES='' NEED_REDIS='' find_or_install) ||
            say "trellis: without ${missing% } (see above) the tests that want it will fail; all others run"
        NEED_TEST_TOOLS=
    fi
    find_or_install
}

find_or_install() {
    local missing typed
    missing=$(missing_packages)
    missing=${missing% }
    if [ -n "$missing" ]; then
        if ! command -v apt-get >/dev/null 2>&1; then
            typed="install PostgreSQL $PG_OLDEST or newer, Redis and, for the tests, haproxy and pgbouncer"
            ! command -v brew >/dev/null 2>&1 || typed="type 'brew install postgresql redis haproxy pgbouncer'"
            die "missing here: $missing; $typed, then try again"
        fi
        install_packages "$missing"
        missing=$(missing_packages)
        [ -z "$missing" ] || die "still missing after the installation: ${missing% } (PostgreSQL has to be $PG_OLDEST or newer); see deploy/dev/services doctor"
    fi
    [ -z "$NEED_POSTGRES" ] || find_postgres
    [ -z "$NEED_REDIS" ] || find_redis
}

install_packages() {
    local line="apt-get install -y --no-install-recommends $1" answer
    # shellcheck disable=SC2086 # a list of package names
    if is_root && { [ -n "${CI:-}" ] || ! has_terminal; }; then
        say "installing $1 (Debian packages; their own services stay off)"
        "$HERE/install-packages" $1 || die "could not install: type '$line' and see what it says"
    elif [ -n "${CI:-}" ] && sudo -n true 2>/dev/null; then
        say "installing $1 with sudo (Debian packages; their own services stay off)"
        sudo -n "$HERE/install-packages" $1 || die "could not install: type 'sudo $line' and see what it says"
    elif has_terminal && { is_root || command -v sudo >/dev/null 2>&1; }; then
        printf 'Trellis needs %s. Install with %sapt-get now? [Y/n] ' "$1" "$(sudo_word)" >&2
        IFS= read -r answer || answer=n
        case $answer in
            '' | [yY]*) ;;
            *) die "not installed: type '$(sudo_word)$line', then try again" ;;
        esac
        $(sudo_word) "$HERE/install-packages" $1 || die "could not install: type '$(sudo_word)$line' and see what it says"
    else
        die "missing here: $1; type '$(sudo_word)$line', then try again"
    fi
}
