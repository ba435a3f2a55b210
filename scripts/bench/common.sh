# shellcheck shell=bash
# What the measurements share: sourced by them, does nothing by itself. Goes to the top of the source.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
[ ! -d "${HOME:-/}/.cargo/bin" ] || export PATH=$HOME/.cargo/bin:$PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

# asks_help ARGUMENT...: nothing need be there to answer that.
asks_help() {
    case " $* " in
        *" --help "* | *" -h "*) ;;
        *) return 1 ;;
    esac
}

# build_unless_given ARGUMENT...: the program, if none is named.
build_unless_given() {
    case " $* " in
        *" --binary "*) ;;
        *) cargo build --release --locked ;;
    esac
}

# measure SCRIPT ARGUMENT...
measure() {
    local script=$1
    shift
    exec python3 -B "$here/$script" "$@"
}
