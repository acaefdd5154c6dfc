# Private PostgreSQL and Redis servers: make, start, probe, stop. Unix sockets only, no port.
# Sourced by `services` after lib.sh and find.sh. A server is named by its directories alone:
#   $1 = home (postgres/, redis/), $2 = the directory of its sockets.
# A process is only ever stopped by the pid file in its own home.
# shellcheck shell=bash disable=SC2153

# Settings of the user's own servers would change where ours listen and where we look for them.
unset PGDATA PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGOPTIONS PGSERVICE
# The user postgres has to pass through what is made here, whatever the caller's umask.
umask 022

# PostgreSQL refuses to run as root; then it runs as the user its package made.
as_postgres() {
    if is_root; then
        (cd / && exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@")
    else
        "$@"
    fi
}

check_postgres_user() {
    is_root && [ -n "$NEED_POSTGRES" ] || return 0
    id postgres >/dev/null 2>&1 || die "PostgreSQL does not run as root and there is no user postgres: run 'adduser --system --group postgres', then try again"
    command -v setpriv >/dev/null 2>&1 || die "setpriv is needed to run PostgreSQL as the user postgres: run 'apt-get install -y util-linux', then try again"
}

# The parent of all data. As root, the user postgres must be able to reach it, which
# a checkout below /root does not allow.
data_home() {
    if is_root && id postgres >/dev/null 2>&1 && ! as_postgres test -x "$ROOT"; then
        printf '/var/lib/trellis-dev-%s' "${CHECKOUT#trellis-}"
    else
        printf '%s' "$DEV"
    fi
}

# A directory for sockets that nobody else on the machine can enter. $1 = its name.
socket_dir() {
    local parent=${XDG_RUNTIME_DIR:-/tmp} path
    [ -d "$parent" ] && [ -w "$parent" ] || parent=/tmp
    ! is_root || as_postgres test -x "$parent" || parent=/tmp
    # A unix socket's path has at most 107 bytes.
    path=$parent/$1/.s.PGSQL.5432
    [ ${#path} -le 107 ] || parent=/tmp
    printf '%s' "$parent/$1"
}

make_socket_dir() {
    [ -d "$1" ] || mkdir -m 700 "$1" || die "cannot make $1 for the sockets: check the rights of ${1%/*}"
    # Somebody else may have put a directory or a link of this name into /tmp.
    if [ -L "$1" ] || [ ! -O "$1" ]; then
        die "$1 belongs to another user: remove it (or stop the stack that user runs), then try again"
    fi
    chmod 700 "$1"
    if is_root && [ -n "$NEED_POSTGRES" ]; then
        chgrp postgres "$1"
        chmod 770 "$1"
    fi
}

first_line() { head -n 1 "$1" 2>/dev/null; }

# --- PostgreSQL ------------------------------------------------------------------------------

postgres_pid() { first_line "$1/postgres/data/postmaster.pid"; }

postgres_runs() {
    local pid
    pid=$(postgres_pid "$1") && [ -n "$pid" ] && process_is "$pid" "$1/postgres/data"
}

postgres_answers() { "$PG_BIN/pg_isready" -q -h "$1" >/dev/null 2>&1; }

postgres_url() { printf 'postgres://%s@%s/%s' "$2" "$(printf %s "$1" | sed 's/%/%25/g; s/\//%2F/g; s/ /%20/g')" "$3"; }

# Made beside and renamed, so a start that was interrupted leaves no half cluster.
make_cluster() {
    local home=$1/postgres
    shift
    mkdir -p "$home"
    if is_root; then
        chown postgres "$home"
        chmod a+x "${home%/*}"
    fi
    chmod 700 "$home"
    [ ! -d "$home/data" ] || return 0
    rm -rf "$home/data.new"
    init_cluster() {
        as_postgres "$PG_BIN/initdb" -D "$home/data.new" --username=postgres --auth=trust --encoding=UTF8 "$@" >"$home/initdb.log" 2>&1
    }
    # C.UTF-8 sorts the same everywhere; systems without it get C.
    init_cluster --locale=C.UTF-8 "$@" || init_cluster --locale=C "$@" ||
        die "PostgreSQL could not make its data directory: $(tail -n 1 "$home/initdb.log") (all of it in $home/initdb.log)"
    mv "$home/data.new" "$home/data"
}

# start_postgres HOME SOCKETS [setting=value ...]
start_postgres() {
    local home=$1/postgres sockets=$2 options setting pid
    shift 2
    options="-c listen_addresses='' -c unix_socket_directories='$sockets' -c unix_socket_permissions=0700"
    options="$options -c port=5432 -c timezone=UTC -c log_timezone=UTC"
    for setting; do options="$options -c $setting"; done
    pid=$(postgres_pid "${home%/postgres}")
    # After a reboot the number may belong to another program; PostgreSQL would take it for itself.
    if [ -n "$pid" ] && ! process_is "$pid" "$home/data"; then
        rm -f "$home/data/postmaster.pid" "$sockets"/.s.PGSQL.5432*
    fi
    : >"$home/start.log"
    if ! as_postgres "$PG_BIN/pg_ctl" start -w -t 60 -s -D "$home/data" -l "$home/postgres.log" -o "$options" >"$home/start.log" 2>&1 9>&-; then
        die "PostgreSQL did not start: $(grep -E 'FATAL|PANIC|could not' "$home/postgres.log" "$home/start.log" -h 2>/dev/null | tail -n 1) (all of it in $home/postgres.log)"
    fi
}

postgres_is_gone() { ! postgres_runs "$1"; }

# stop_postgres HOME [SIGNAL]: INT ends sessions and writes a checkpoint, QUIT drops everything.
stop_postgres() {
    if postgres_runs "$1"; then
        kill "-${2:-INT}" "$(postgres_pid "$1")" 2>/dev/null
        wait_until 60 postgres_is_gone "$1" ||
            say "PostgreSQL (process $(postgres_pid "$1")) did not stop within a minute; see $1/postgres/postgres.log"
    fi
}

# The application owns its database and is no superuser, as in production.
make_app_database() {
    sql() { "$PG_BIN/psql" -h "$1" -U postgres -d postgres -qAtX -v ON_ERROR_STOP=1 -c "$2"; }
    [ "$(sql "$1" "SELECT 1 FROM pg_roles WHERE rolname = 'trellis'")" = 1 ] || sql "$1" 'CREATE ROLE trellis LOGIN'
    [ "$(sql "$1" "SELECT 1 FROM pg_database WHERE datname = 'trellis'")" = 1 ] || sql "$1" 'CREATE DATABASE trellis OWNER trellis'
}

# --- Redis -----------------------------------------------------------------------------------

redis_pid() { first_line "$1/redis/redis.pid"; }

redis_runs() {
    local pid
    pid=$(redis_pid "$1") && [ -n "$pid" ] && process_is "$pid" redis-server || return 1
    # Another Redis may have got the number; ours works in its own directory.
    [ ! -e "/proc/$pid/cwd" ] || [ "/proc/$pid/cwd" -ef "$1/redis" ]
}

redis_answers() { [ "$("$REDIS_CLI" -s "$1/redis.sock" ping 2>/dev/null)" = PONG ]; }

redis_url() { printf 'redis+unix://%s/redis.sock' "$1"; }

# start_redis HOME SOCKETS [option value ...]
start_redis() {
    local home=$1/redis sockets=$2
    shift 2
    mkdir -p "$home"
    chmod 700 "$home"
    rm -f "$home/redis.pid" "$sockets/redis.sock"
    "$REDIS_SERVER" --port 0 --unixsocket "$sockets/redis.sock" --unixsocketperm 700 \
        --dir "$home" --pidfile "$home/redis.pid" --logfile "$home/redis.log" --daemonize yes \
        --save '' --maxmemory-policy noeviction "$@" </dev/null >"$home/start.log" 2>&1 9>&- ||
        die "Redis did not start: $(tail -n 1 "$home/start.log") (see $home)"
    wait_until 30 redis_answers "$sockets" ||
        die "Redis did not start: $(tail -n 1 "$home/redis.log") (all of it in $home/redis.log)"
}

redis_is_gone() { ! redis_runs "$1"; }

stop_redis() {
    if redis_runs "$1"; then
        kill -TERM "$(redis_pid "$1")" 2>/dev/null
        wait_until 30 redis_is_gone "$1" ||
            say "Redis (process $(redis_pid "$1")) did not stop within 30 s; see $1/redis/redis.log"
    fi
}
