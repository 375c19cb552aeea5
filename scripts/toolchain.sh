# shellcheck shell=bash
# Sourced by ./test, ./demo and .ci/run: makes sure that this machine can build Halcyon, and says what
# it is about to install before it does. Everything it says goes to stderr, so that a caller's stdout
# stays the caller's. Call `ensure_toolchain` from the root of the repository.

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo (which may ask for a password on a terminal).
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        return 1
    fi
}

# A program that writes a file and then moves it into its place turns /dev/null into a plain file when root
# names that as its output. Build scripts write to it then, and Cargo gives what they wrote to the compiler.
ensure_null_device() {
    [ ! -c /dev/null ] || return 0
    say "-- /dev/null is no device here; making it one again: mknod -m 666 /dev/null c 1 3"
    { as_root rm -f /dev/null && as_root mknod -m 666 /dev/null c 1 3; } && [ -c /dev/null ] \
        || die "please make /dev/null a device again: rm -f /dev/null; mknod -m 666 /dev/null c 1 3"
}

apt_install() {
    have apt-get || die "please install $* (or their like on this distribution) and start again; only apt is known here"
    [ "$(id -u)" -eq 0 ] || have sudo || die "please run as root: apt-get install $*"
    say "-- installing with apt-get: $*"
    if [ -z "${apt_updated:-}" ]; then
        as_root apt-get -qq update >&2 || say "   apt-get update failed; trying with the lists at hand"
        apt_updated=1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >&2 \
        || die "apt-get could not install: $*"
}

# The packages for what a build calls: a C compiler and linker, pkg-config, git, curl.
ensure_system_packages() {
    local missing=()
    have cc || missing+=(gcc libc6-dev)
    have pkg-config || missing+=(pkg-config)
    have git || missing+=(git)
    have curl || missing+=(curl ca-certificates)
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

pinned_rust() { sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml; }

# Prints "1095" for "cargo 1.95.0 (…)", so that versions compare as numbers; nothing if cargo fails.
cargo_version_number() {
    RUSTUP_AUTO_INSTALL=0 cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9]*\)\.\([0-9]*\)\..*/\1 \2/p' \
        | while read -r major minor; do printf '%d\n' $((major * 1000 + minor)); done
}

rust_is_ready() {
    local pin have_number
    pin=$(pinned_rust)
    have_number=$(cargo_version_number)
    [ -n "$have_number" ] || return 1
    [ "$have_number" -ge "$(printf '%s\n' "$pin" | awk -F. '{ print $1 * 1000 + $2 }')" ]
}

install_rustup() {
    # Debian's own package is preferred: it is signed and updated with the system.
    if have apt-cache && apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
        apt_install rustup
    else
        say "-- installing rustup from rust-lang.org into ${CARGO_HOME:-$HOME/.cargo} (this user only)"
        fetch_and_run_rustup || die "rustup could not be installed; install Rust $(pinned_rust) or newer and start again"
    fi
    hash -r
}

# By the script of https://rustup.rs, or where that name is not reachable, by the program which that
# script would fetch.
fetch_and_run_rustup() {
    local folder options=(-y --quiet --no-modify-path --profile minimal --default-toolchain none)
    folder=$(mktemp -d)
    if download https://sh.rustup.rs "$folder/rustup.sh"; then
        sh "$folder/rustup.sh" "${options[@]}" >&2
    else
        say "   sh.rustup.rs does not answer; fetching rustup-init from static.rust-lang.org"
        download "https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init" "$folder/rustup-init" \
            && chmod +x "$folder/rustup-init" && "$folder/rustup-init" "${options[@]}" >&2
    fi
    local outcome=$?
    rm -rf "$folder"
    return $outcome
}

download() { curl --proto '=https' --tlsv1.2 -sSf --retry 2 -o "$2" "$1" >&2; }

# With rustup present: the pinned toolchain, or, where it cannot be fetched, a newer one already here.
install_pinned_toolchain() {
    local pin name
    pin=$(pinned_rust)
    say "-- installing Rust $pin with rustup (minimal profile, clippy, rustfmt)"
    if rustup toolchain install "$pin" --profile minimal --component clippy --component rustfmt >&2; then
        return
    fi
    for name in $(rustup toolchain list | cut -d' ' -f1); do
        if RUSTUP_TOOLCHAIN=$name rust_is_ready; then
            say "   Rust $pin could not be fetched; using the installed $name in its place"
            export RUSTUP_TOOLCHAIN=$name
            return
        fi
    done
    die "Rust $pin could not be fetched and no newer toolchain is installed"
}

ensure_rust() {
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    export PATH
    rust_is_ready && return
    if ! have rustup; then
        if have cargo; then
            say "-- $(cargo --version) is older than this workspace needs ($(pinned_rust))"
        fi
        install_rustup
        # A rustup of this user must win over an older cargo of the system.
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    install_pinned_toolchain
    rust_is_ready || die "cargo still does not answer as Rust $(pinned_rust) or newer: $(cargo --version 2>&1 | head -n 1)"
}

# The two components that only ./test needs.
ensure_lints() {
    if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
        return
    fi
    have rustup || die "cargo fmt or cargo clippy is missing and there is no rustup to add them"
    say "-- adding clippy and rustfmt with rustup"
    rustup component add clippy rustfmt >&2 || die "rustup could not add clippy and rustfmt"
}

ensure_toolchain() {
    ensure_system_packages
    ensure_rust
}
