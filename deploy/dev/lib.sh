# Shared by the scripts in this directory: messages, the place of things, small probes.
# Sourced by bash, never run. Works with the bash 3.2 of macOS. It starts and stops nothing.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
HERE=$ROOT/deploy/dev
DEV=$ROOT/.dev
# A short name for this checkout: two checkouts side by side never meet.
CHECKOUT=trellis-$(printf %s "$ROOT" | cksum | cut -d' ' -f1)
BIN_DIR=${CARGO_TARGET_DIR:-$ROOT/target}/debug
case $BIN_DIR in /*) ;; *) BIN_DIR=$ROOT/$BIN_DIR ;; esac

# `make` hands its job server down; cargo would look for it and warn.
unset MAKEFLAGS MFLAGS MAKELEVEL

say() { printf '%s\n' "$*" >&2; }

# One line: the cause, then the next step.
die() {
    printf 'trellis: %s\n' "$*" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

has_terminal() { [ -t 0 ] && [ -t 2 ]; }

# The binaries take each setting from NAME or from the file that NAME_FILE names; so do these scripts.
read_setting_files() {
    local name file
    for name in APP_ENV HTTP_ADDR METRICS_ADDR WORKER_METRICS_ADDR PUBLIC_URL DATABASE_URL REDIS_URL LOG_FORMAT DRAIN_SECONDS; do
        file=${name}_FILE
        [ -n "${!file:-}" ] || continue
        [ -r "${!file}" ] || die "$file names ${!file}, which cannot be read: correct it, or unset it"
        export "$name=$(cat "${!file}")"
        unset "$file"
    done
}

# The command line of a living process, or nothing.
command_line() {
    if [ -d /proc/self ]; then
        [ ! -r "/proc/$1/cmdline" ] || tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline"
    else
        ps -p "$1" -o command= 2>/dev/null
    fi
}

# process_is PID TEXT: that process is alive and its command line holds TEXT,
# so a number that a later process got by chance is never taken for ours.
process_is() {
    local line
    line=$(command_line "$1")
    case $line in '') return 1 ;; *"$2"*) return 0 ;; *) return 1 ;; esac
}

# wait_until SECONDS COMMAND...: polls COMMAND; false when the time is up.
wait_until() {
    local tries=$(($1 * 10))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}

# tcp_open HOST PORT: something accepts connections there. Needs no tool but bash.
tcp_open() {
    local host=${1#[}
    host=${host%]}
    case $host in 0.0.0.0 | '' | '*') host=127.0.0.1 ;; ::) host=::1 ;; esac
    (exec 3<>"/dev/tcp/$host/$2") 2>/dev/null
}

# reachable HOST PORT: as tcp_open, for a host that may be far away and silent.
reachable() {
    if command -v timeout >/dev/null 2>&1; then
        # shellcheck disable=SC2016 # expands in the inner bash
        timeout 5 bash -c '. "$1" && tcp_open "$2" "$3"' bash "$HERE/lib.sh" "$1" "$2"
    else
        tcp_open "$1" "$2"
    fi
}

# http_status HOST PORT PATH: prints the status code of a GET, or nothing.
http_status() {
    local host=${1#[} status=
    host=${host%]}
    case $host in 0.0.0.0) host=127.0.0.1 ;; ::) host=::1 ;; esac
    {
        exec 3<>"/dev/tcp/$host/$2" || return 1
    } 2>/dev/null
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$3" >&3 2>/dev/null
    IFS=' ' read -r -t 5 _ status _ <&3
    exec 3>&-
    printf '%s' "$status"
}

# Makes Rust's usual place visible: a shell opened before rustup ran does not have it on PATH.
find_cargo() {
    command -v cargo >/dev/null 2>&1 && return
    local bin=${CARGO_HOME:-$HOME/.cargo}/bin
    [ -x "$bin/cargo" ] || die "cargo is not found: install Rust from https://rustup.rs, then try again"
    PATH=$bin:$PATH
}

# The oldest Rust that works is written in one place, Cargo.toml.
needed_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# older A B: version A is older than version B (major.minor).
older() {
    local a_major=${1%%.*} b_major=${2%%.*} a_minor b_minor
    a_minor=$(printf '%s' "$1" | cut -d. -f2)
    b_minor=$(printf '%s' "$2" | cut -d. -f2)
    [ "$a_major" -lt "$b_major" ] || { [ "$a_major" -eq "$b_major" ] && [ "$a_minor" -lt "$b_minor" ]; }
}

# What cargo would only tell after minutes, or in a page of linker output.
check_toolchain() {
    find_cargo
    local have need
    need=$(needed_rust)
    have=$(rustc --version 2>/dev/null | cut -d' ' -f2)
    [ -n "$have" ] || die "rustc does not run: install Rust $need or newer from https://rustup.rs, then try again"
    if older "$have" "$need"; then
        command -v rustup >/dev/null 2>&1 || die "Rust $have is too old, Trellis needs $need: install it from https://rustup.rs, then try again"
        die "Rust $have is too old, Trellis needs $need: run 'rustup update stable', then try again"
    fi
    if ! command -v "${CC:-cc}" >/dev/null 2>&1; then
        case $(uname -s) in
            Darwin) die "no C compiler (${CC:-cc}) is found: run 'xcode-select --install', then try again" ;;
            *) die "no C compiler (${CC:-cc}) is found: run '$(sudo_word)apt-get install -y build-essential', then try again" ;;
        esac
    fi
}

# How a command that needs root starts on this machine, for messages.
sudo_word() { is_root || printf 'sudo '; }
